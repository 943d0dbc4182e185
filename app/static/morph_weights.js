// Which morph weights a head shows: sliders, gaze and idle movement together. Names are ARKit's.

// About how far an ARKit eyeLook shape turns the eyeball at weight 1.
export const FULL_LOOK_DEG = 25;

const clamp01 = (value) => Math.min(Math.max(value, 0), 1);

/** ARKit's eyeLook shapes for a gaze: eyeballs, lids and the skin around them. Yaw is towards the head's left. */
export function lookWeights({ yaw_deg, pitch_deg }) {
  const left = clamp01(yaw_deg / FULL_LOOK_DEG);
  const right = clamp01(-yaw_deg / FULL_LOOK_DEG);
  const down = clamp01(pitch_deg / FULL_LOOK_DEG);
  const up = clamp01(-pitch_deg / FULL_LOOK_DEG);
  return {
    eyeLookOutLeft: left,
    eyeLookInRight: left,
    eyeLookInLeft: right,
    eyeLookOutRight: right,
    eyeLookDownLeft: down,
    eyeLookDownRight: down,
    eyeLookUpLeft: up,
    eyeLookUpRight: up,
  };
}

/**
 * The weight of each of `names`, 0..1: what the file stores (`own`, by index) plus every list of `added` weights, with
 * the lids closed further by `closed` (0..1). A blink goes from where the lids are to shut, so it never opens an eye
 * that a slider has closed.
 */
export function morphWeights(names, own, added, closed = 0) {
  return names.map((name, index) => {
    const sum = added.reduce((total, weights) => total + (weights[name] ?? 0), own[index] ?? 0);
    const weight = clamp01(sum);
    return name === "eyeBlinkLeft" || name === "eyeBlinkRight" ? weight + closed * (1 - weight) : weight;
  });
}

/**
 * An expression (a set_expression message) without what words have moved: `words`, by name. Without the head's own
 * expression there is nothing that words could have taken away from.
 */
export function withoutWords({ weights, own }, words) {
  const bare = { ...weights };
  for (const [name, amount] of Object.entries(words)) bare[name] = (bare[name] ?? 0) - (own ? amount : clamp01(amount));
  return { weights: bare, own };
}
