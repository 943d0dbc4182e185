import assert from "node:assert/strict";
import { test } from "node:test";
import { activity, isWrinkles, LAYERS, Wrinkles } from "../../app/static/wrinkles.js";

const FAMILIES = [
  { name: "forehead", layer: 0, gains: { browInnerUp: 1, browOuterUpLeft: 0.5 } },
  { name: "glabella", layer: 1, gains: { browDownLeft: 0.5, browDownRight: 0.5 } },
  { name: "brow", layer: 0, gains: { browOuterUpLeft: 1 } },
];
const MASKS = [
  [1, 0.5, 0, 0.25],
  [0, 1, 0, 0.5],
  [0.5, 0.75, 0, 0],
];
const mask = (family, vertex) => MASKS[family][vertex];

// The rule of the file's format, written down once more.
function expected(weights) {
  const clamp = (value) => Math.min(Math.max(value, 0), 1);
  const sums = Array.from({ length: 4 * LAYERS }, () => 0);
  FAMILIES.forEach(({ layer, gains }, family) => {
    const active = clamp(Object.entries(gains).reduce((sum, [name, gain]) => sum + gain * (weights[name] ?? 0), 0));
    for (let vertex = 0; vertex < 4; vertex++) sums[LAYERS * vertex + layer] += active * mask(family, vertex);
  });
  return sums.map(clamp);
}

test("a family is as active as its shapes together, between none and all", () => {
  assert.equal(activity({ a: 1, b: 0.5 }, {}), 0);
  assert.equal(activity({ a: 1, b: 0.5 }, { a: 0.25, b: 0.5 }), 0.5);
  assert.equal(activity({ a: 1, b: 0.5 }, { a: 1, b: 1 }), 1);
  assert.equal(activity({ a: 1, b: -1 }, { b: 1 }), 0);
});

test("weights are the sum of the layer's families, at most 1, at every vertex", () => {
  const wrinkles = new Wrinkles(FAMILIES, mask, 4);
  for (const weights of [
    { browInnerUp: 0.5 },
    { browInnerUp: 1, browOuterUpLeft: 1, browDownLeft: 1 },
    { browDownLeft: 0.5, browDownRight: 1 },
    { browOuterUpLeft: 0.25, jawOpen: 1 },
    {},
  ]) {
    wrinkles.follow(weights);
    assert.deepEqual([...wrinkles.weights], expected(weights).map(Math.fround), JSON.stringify(weights));
  }
});

test("nothing is worked out anew while no family changes", () => {
  const wrinkles = new Wrinkles(FAMILIES, mask, 4);
  assert.equal(wrinkles.any, false);
  assert.equal(wrinkles.follow({ jawOpen: 1 }), false);
  assert.equal(wrinkles.follow({ browInnerUp: 0.5 }), true);
  assert.equal(wrinkles.any, true);
  assert.equal(wrinkles.follow({ browInnerUp: 0.5, mouthSmileLeft: 1 }), false);
  assert.equal(wrinkles.follow({}), true);
  assert.equal(wrinkles.any, false);
  assert.ok(wrinkles.weights.every((value) => value === 0));
});

test("what a file says is believed only where it can be meant", () => {
  const good = { textures: [4, 5], scale: 1, families: FAMILIES };
  assert.ok(isWrinkles(good));
  for (const bad of [
    undefined,
    {},
    { ...good, scale: "1" },
    { ...good, textures: [4] },
    { ...good, textures: ["4", 5] },
    { ...good, families: [] },
    { ...good, families: [{ layer: 2, gains: {} }] },
    { ...good, families: [{ layer: 0, gains: { browInnerUp: "1" } }] },
    { ...good, families: [{ layer: 0, gains: null }] },
  ]) {
    assert.ok(!isWrinkles(bad), JSON.stringify(bad));
  }
});
