// The expressions as data: groups, labels, mirror pairs, sliders, presets.

import assert from "node:assert/strict";
import test from "node:test";
import { ARKIT_GROUPS, labelOf, linkedNames, mirrorOf, PRESETS, sliderGroups } from "../../app/static/expressions.js";

// Apple's ARFaceAnchor.BlendShapeLocation, typed from its documentation.
const ARKIT = `browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight tongueOut`.split(/\s+/);
const namesOf = (groups) => groups.flatMap(({ sliders }) => sliders.flatMap(({ names }) => names));

test("every one of the 52 shapes is in exactly one group, and nothing else is", () => {
  assert.equal(ARKIT.length, 52);
  assert.deepEqual(ARKIT_GROUPS.flatMap(({ names }) => names).sort(), ARKIT);
});

test("mirroring twice changes nothing and stays within the 52", () => {
  for (const name of ARKIT) {
    assert.equal(mirrorOf(mirrorOf(name)), name);
    assert.ok(ARKIT.includes(mirrorOf(name)), name);
    assert.equal(mirrorOf(name) === name, !/(Left|Right)$/.test(name), name);
  }
});

test("linked names are a pair of mirror images, except where the two would undo each other", () => {
  for (const name of ARKIT) {
    const linked = linkedNames(name);
    assert.ok(linked.includes(name));
    assert.deepEqual(new Set(linked.flatMap(linkedNames)), new Set(linked));
    for (const other of linked) assert.ok(other === name || other === mirrorOf(name));
  }
  for (const name of ["jawLeft", "jawRight", "mouthLeft", "mouthRight"]) assert.deepEqual(linkedNames(name), [name]);
  assert.deepEqual(linkedNames("eyeBlinkRight"), ["eyeBlinkLeft", "eyeBlinkRight"]);
});

test("sliders move every shape once, linked or not", () => {
  for (const linked of [true, false]) assert.deepEqual(namesOf(sliderGroups(ARKIT, linked)).sort(), ARKIT);
  for (const { sliders } of sliderGroups(ARKIT, false)) for (const { names } of sliders) assert.equal(names.length, 1);
  const pairs = sliderGroups(ARKIT, true).flatMap(({ sliders }) => sliders.filter(({ names }) => names.length === 2));
  const sided = ARKIT.filter((name) => /(Left|Right)$/.test(name) && !/^(jaw|mouth)(Left|Right)$/.test(name));
  assert.equal(2 * pairs.length, sided.length);
});

test("sliders have keys and, within a group, labels of their own", () => {
  for (const linked of [true, false]) {
    const groups = sliderGroups(ARKIT, linked);
    const keys = groups.flatMap(({ sliders }) => sliders.map(({ key }) => key));
    assert.equal(new Set(keys).size, keys.length);
    for (const { sliders } of groups) {
      const labels = sliders.map(({ label }) => label);
      assert.equal(new Set(labels).size, labels.length, labels.join());
    }
  }
});

test("labels are for people", () => {
  assert.equal(labelOf("mouthSmileLeft"), "Smile, left");
  assert.equal(labelOf("mouthSmileRight"), "Smile, right");
  assert.equal(labelOf("mouthSmileRight", true), "Smile");
  assert.equal(labelOf("jawLeft"), "To the left");
  assert.equal(labelOf("browRaiseHigh"), "Brow raise high");
  for (const name of ARKIT) assert.doesNotMatch(labelOf(name), /[a-z][A-Z]/);
});

test("a head offers what it has: fewer shapes, half a pair, names that ARKit lacks", () => {
  const groups = sliderGroups(["jawOpen", "eyeBlinkLeft", "earWiggleLeft", "earWiggleRight", "vowel_A"], true);
  assert.deepEqual(
    groups.map(({ title }) => title),
    ["Eyes", "Jaw", "Other"],
  );
  assert.deepEqual(groups[0].sliders, [{ key: "eyeBlinkLeft", label: "Blink, left", names: ["eyeBlinkLeft"] }]);
  assert.deepEqual(
    groups[2].sliders.map(({ names }) => names),
    [["earWiggleLeft", "earWiggleRight"], ["vowel_A"]],
  );
  assert.deepEqual(sliderGroups([], true), []);
});

test("presets know their shapes, stay within 0..1 and are symmetric, except the wink", () => {
  assert.deepEqual(Object.keys(PRESETS), "neutral smile laugh surprise anger sadness disgust wink kiss".split(" "));
  for (const [preset, { weights }] of Object.entries(PRESETS)) {
    for (const [name, weight] of Object.entries(weights)) {
      assert.ok(ARKIT.includes(name), `${preset}: ${name}`);
      assert.ok(weight > 0 && weight <= 1, `${preset}: ${name} ${weight}`);
    }
    const symmetric = Object.entries(weights).every(([name, weight]) => weights[mirrorOf(name)] === weight);
    assert.equal(symmetric, preset !== "wink", preset);
  }
  assert.deepEqual(PRESETS.neutral.weights, {});
  const weights = Object.values(PRESETS).map((preset) => JSON.stringify(preset.weights));
  assert.equal(new Set(weights).size, weights.length);
  assert.ok(PRESETS.wink.weights.eyeBlinkLeft > 0.8 && !PRESETS.wink.weights.eyeBlinkRight);
});
