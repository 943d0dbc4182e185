// Facial expressions as data: the 52 ARKit shapes in groups, with names for people, mirror pairs and presets.
//
// Left and right are the person's own, as in the ARKit names. Nothing here touches the page.

// Group -> shape, without its side -> label. The order is that of the panel.
const GROUPS = {
  Brows: { browInnerUp: "Inner brows up", browOuterUp: "Outer brow up", browDown: "Brow down" },
  Eyes: {
    eyeBlink: "Blink",
    eyeSquint: "Squint",
    eyeWide: "Widen",
    eyeLookUp: "Look up",
    eyeLookDown: "Look down",
    eyeLookIn: "Look inwards",
    eyeLookOut: "Look outwards",
  },
  "Cheeks and nose": { cheekPuff: "Puff cheeks", cheekSquint: "Raise cheek", noseSneer: "Wrinkle nose" },
  Mouth: {
    mouthSmile: "Smile",
    mouthFrown: "Corner down",
    mouthDimple: "Dimple",
    mouthStretch: "Stretch",
    mouthPress: "Press lips",
    mouthUpperUp: "Upper lip up",
    mouthLowerDown: "Lower lip down",
    mouthPucker: "Pucker",
    mouthFunnel: "Round",
    mouthClose: "Lips closed",
    mouthRollUpper: "Upper lip in",
    mouthRollLower: "Lower lip in",
    mouthShrugUpper: "Upper lip out",
    mouthShrugLower: "Chin up",
    mouthLeft: "Mouth to the left",
    mouthRight: "Mouth to the right",
  },
  Jaw: { jawOpen: "Open", jawForward: "Forward", jawLeft: "To the left", jawRight: "To the right" },
  Tongue: { tongueOut: "Tongue out" },
};

// Shapes that move one part to one side: the two undo each other, so they are never moved together.
const DIRECTIONS = ["jawLeft", "jawRight", "mouthLeft", "mouthRight"];
// One shape for both sides. All others come as a left and a right one.
const ONE_SIDED = [
  "browInnerUp",
  "cheekPuff",
  "mouthPucker",
  "mouthFunnel",
  "mouthClose",
  "mouthRollUpper",
  "mouthRollLower",
  "mouthShrugUpper",
  "mouthShrugLower",
  "jawOpen",
  "jawForward",
  "tongueOut",
  ...DIRECTIONS,
];

/** The shape across the face: "eyeBlinkLeft" <-> "eyeBlinkRight"; one without sides is its own. */
export function mirrorOf(name) {
  if (name.endsWith("Left")) return name.slice(0, -"Left".length) + "Right";
  if (name.endsWith("Right")) return name.slice(0, -"Right".length) + "Left";
  return name;
}

/** What moves together with `name` while left and right are linked, itself included; left first. */
export function linkedNames(name) {
  const mirror = mirrorOf(name);
  if (mirror === name || DIRECTIONS.includes(name)) return [name];
  return name.endsWith("Left") ? [name, mirror] : [mirror, name];
}

/** The 52 ARKit shapes by group: [{ title, names }]. */
export const ARKIT_GROUPS = Object.entries(GROUPS).map(([title, labels]) => ({
  title,
  names: Object.keys(labels).flatMap((stem) => (ONE_SIDED.includes(stem) ? [stem] : [`${stem}Left`, `${stem}Right`])),
}));

const stemOf = (name) => (linkedNames(name).length === 2 ? name.replace(/(Left|Right)$/, "") : name);

/** What a shape is called for people: "Smile, left"; without its side where `linked`. Foreign names are spelled out. */
export function labelOf(name, linked = false) {
  const stem = stemOf(name);
  const known = Object.values(GROUPS).find((labels) => Object.hasOwn(labels, stem));
  const words = stem.replace(/_/g, " ").replace(/(?<=[a-z])(?=[A-Z])/g, " ");
  const label = known ? known[stem] : words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
  if (linked || stem === name) return label;
  return `${label}, ${name.endsWith("Left") ? "left" : "right"}`;
}

/**
 * The sliders for a head that offers `offered` (names of morphs), by group: [{ title, sliders: [{ key, label, names }] }].
 *
 * A linked pair is one slider that moves both names. Names that ARKit lacks make a last group, "Other"; groups without
 * any slider are left out.
 */
export function sliderGroups(offered, linked) {
  const known = new Set(ARKIT_GROUPS.flatMap((group) => group.names));
  const groups = [...ARKIT_GROUPS, { title: "Other", names: offered.filter((name) => !known.has(name)) }];
  return groups
    .map(({ title, names }) => {
      const sliders = new Map();
      for (const name of names.filter((name) => offered.includes(name))) {
        const moved = linked ? linkedNames(name).filter((other) => offered.includes(other)) : [name];
        const key = moved.length === 2 ? stemOf(name) : name;
        sliders.set(key, { key, label: labelOf(name, moved.length === 2), names: moved });
      }
      return { title, sliders: [...sliders.values()] };
    })
    .filter(({ sliders }) => sliders.length > 0);
}

const both = (weights) =>
  Object.fromEntries(
    Object.entries(weights).flatMap(([stem, weight]) => linkedNames(`${stem}Left`).map((name) => [name, weight])),
  );

/**
 * Complete expressions: name -> { label, weights }. From the action units of the Facial Action Coding System (Ekman and
 * Friesen 1978) in ARKit's shapes, with amounts chosen by eye on heads of both genders and of several ages.
 */
export const PRESETS = {
  neutral: { label: "Neutral", weights: {} },
  // AU 6 + 12: a smile that stays in the mouth looks false, the cheeks rise with it (Duchenne).
  smile: {
    label: "Smile",
    weights: { ...both({ mouthSmile: 0.8, cheekSquint: 0.55, eyeSquint: 0.25, mouthDimple: 0.15 }) },
  },
  // AU 6 + 12 + 25 + 26
  laugh: {
    label: "Laugh",
    weights: {
      ...both({ mouthSmile: 0.8, cheekSquint: 0.75, eyeSquint: 0.5, mouthUpperUp: 0.3, mouthLowerDown: 0.2 }),
      jawOpen: 0.35,
      browInnerUp: 0.15,
    },
  },
  // AU 1 + 2 + 5 + 26
  surprise: {
    label: "Surprise",
    weights: {
      ...both({ browOuterUp: 0.8, eyeWide: 0.7 }),
      browInnerUp: 0.8,
      jawOpen: 0.5,
      mouthClose: 0.15,
      mouthPucker: 0.2,
    },
  },
  // AU 4 + 5 + 7 + 23 + 24
  anger: {
    label: "Anger",
    weights: {
      ...both({ browDown: 0.95, eyeSquint: 0.35, noseSneer: 0.35, mouthPress: 0.5, mouthFrown: 0.35 }),
      mouthShrugLower: 0.25,
      jawForward: 0.2,
    },
  },
  // AU 1 + 4 + 15 + 17
  sadness: {
    label: "Sadness",
    weights: {
      ...both({ mouthFrown: 0.65, browDown: 0.15, eyeSquint: 0.2, eyeLookDown: 0.25, eyeBlink: 0.15 }),
      browInnerUp: 0.9,
      mouthShrugLower: 0.4,
    },
  },
  // AU 9 + 10 + 15 + 17
  disgust: {
    label: "Disgust",
    weights: {
      ...both({
        noseSneer: 0.9,
        mouthUpperUp: 0.6,
        browDown: 0.5,
        eyeSquint: 0.5,
        cheekSquint: 0.35,
        mouthFrown: 0.35,
      }),
      mouthShrugLower: 0.3,
    },
  },
  // AU 46, and the half smile that says it is meant kindly
  wink: {
    label: "Wink",
    weights: {
      eyeBlinkLeft: 0.95,
      eyeSquintLeft: 0.2,
      cheekSquintLeft: 0.6,
      browDownLeft: 0.3,
      mouthSmileLeft: 0.65,
      mouthDimpleLeft: 0.2,
      mouthSmileRight: 0.35,
      browOuterUpRight: 0.2,
    },
  },
  // AU 18
  kiss: {
    label: "Kiss",
    weights: { ...both({ eyeBlink: 0.95, browOuterUp: 0.15 }), mouthPucker: 1, browInnerUp: 0.3 },
  },
};
