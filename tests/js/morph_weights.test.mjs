import assert from "node:assert/strict";
import { test } from "node:test";
import { FULL_LOOK_DEG, lookWeights, morphWeights, withoutWords } from "../../app/static/morph_weights.js";

const nonZero = (weights) => Object.fromEntries(Object.entries(weights).filter(([, weight]) => weight !== 0));

test("both eyes look the same way: out with one is in with the other", () => {
  assert.deepEqual(nonZero(lookWeights({ yaw_deg: FULL_LOOK_DEG, pitch_deg: 0 })), {
    eyeLookOutLeft: 1,
    eyeLookInRight: 1,
  });
  assert.deepEqual(nonZero(lookWeights({ yaw_deg: -FULL_LOOK_DEG / 2, pitch_deg: 0 })), {
    eyeLookInLeft: 0.5,
    eyeLookOutRight: 0.5,
  });
  assert.deepEqual(nonZero(lookWeights({ yaw_deg: 0, pitch_deg: FULL_LOOK_DEG / 5 })), {
    eyeLookDownLeft: 0.2,
    eyeLookDownRight: 0.2,
  });
  assert.deepEqual(nonZero(lookWeights({ yaw_deg: 0, pitch_deg: -FULL_LOOK_DEG })), {
    eyeLookUpLeft: 1,
    eyeLookUpRight: 1,
  });
});

test("a gaze beyond what eyes can do stops at 1, and straight ahead is nothing", () => {
  assert.deepEqual(nonZero(lookWeights({ yaw_deg: 0, pitch_deg: 0 })), {});
  const far = lookWeights({ yaw_deg: 400, pitch_deg: -400 });
  assert.ok(Object.values(far).every((weight) => weight === 0 || weight === 1));
  assert.equal(Object.values(far).filter(Boolean).length, 4);
});

const NAMES = ["jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft"];

test("sliders add to the file's own expression, within 0 and 1", () => {
  assert.deepEqual(morphWeights(NAMES, [0.3, 0, 0, 0.9], [{ jawOpen: 0.25, mouthSmileLeft: 0.5 }]), [0.55, 0, 0, 1]);
  assert.deepEqual(morphWeights(NAMES, [0.3, 0, 0, 0.9], [{ jawOpen: -1 }]), [0, 0, 0, 0.9]);
  assert.deepEqual(morphWeights(NAMES, [], [{ jawOpen: 0.25 }, { jawOpen: 0.5, unknown: 1 }]), [0.75, 0, 0, 0]);
});

test("a blink closes the lids from where they are and touches nothing else", () => {
  const rest = [{ jawOpen: 0.5, eyeBlinkLeft: 0.4, mouthSmileLeft: 0.2 }];
  assert.deepEqual(morphWeights(NAMES, [], rest, 0), [0.5, 0.4, 0, 0.2]);
  assert.deepEqual(morphWeights(NAMES, [], rest, 1), [0.5, 1, 1, 0.2]);
  const [, left, right] = morphWeights(NAMES, [], rest, 0.5);
  assert.ok(Math.abs(left - 0.7) < 1e-12 && right === 0.5);
  // Lids that are wide open, by eyeWide, and lids that a slider has shut, never open by blinking.
  for (let closed = 0; closed <= 1; closed += 0.1) {
    assert.equal(morphWeights(["eyeBlinkLeft"], [0], [{ eyeBlinkLeft: 1 }], closed)[0], 1);
  }
});

test("an expression without what words have moved", () => {
  const words = { mouthSmileLeft: 0.5, jawOpen: -0.25 };
  const weights = { mouthSmileLeft: 0.75, jawOpen: 0, browInnerUp: 0.5 };
  assert.deepEqual(withoutWords({ weights, own: true }, words), {
    weights: { mouthSmileLeft: 0.25, jawOpen: 0.25, browInnerUp: 0.5 },
    own: true,
  });
  // Without the head's own expression nothing was taken from it.
  assert.deepEqual(withoutWords({ weights, own: false }, words).weights, { ...weights, mouthSmileLeft: 0.25 });
  assert.deepEqual(withoutWords({ weights: {}, own: true }, {}), { weights: {}, own: true });
});
