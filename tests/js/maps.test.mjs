import assert from "node:assert/strict";
import { test } from "node:test";
import { combineSlopes, grey, MAPS, mapsOf } from "../../app/static/maps.js";

const texel = (...values) => Uint8ClampedArray.from(values);

test("a channel is seen as grey, opaque", () => {
  const data = texel(10, 20, 30, 0, 40, 50, 60, 255);
  assert.deepEqual(grey(data, 1), texel(20, 20, 20, 255, 50, 50, 50, 255));
});

test("flat over flat is flat, and slopes over flat are kept to a shade", () => {
  const flat = texel(128, 128, 255, 255);
  const steep = texel(190, 90, 229, 255);
  combineSlopes([flat, flat]).forEach((value, i) => assert.ok(Math.abs(value - flat[i]) <= 1));
  combineSlopes([steep, flat]).forEach((value, i) => assert.ok(Math.abs(value - steep[i]) <= 2, `${value}`));
  // Opposite slopes cancel.
  const opposite = texel(255 - 190, 255 - 90, 229, 255);
  combineSlopes([steep, opposite]).forEach((value, i) => assert.ok(Math.abs(value - flat[i]) <= 1));
});

test("a head has the maps whose textures its material has", () => {
  const [colours, packed, normals, wrinkle] = ["colours", "packed", "normals", "wrinkle"];
  assert.deepEqual([...mapsOf({}).keys()], []);
  assert.deepEqual([...mapsOf({ map: colours, roughnessMap: packed }).keys()], ["albedo", "roughness"]);
  const all = mapsOf(
    {
      ...{ map: colours, roughnessMap: packed, aoMap: packed, normalMap: normals, specularColorMap: packed },
      userData: { likeness: { translucency: "metallicRoughness.b" } },
    },
    [wrinkle, wrinkle],
  );
  assert.deepEqual([...all.keys()], Object.keys(MAPS));
  assert.deepEqual(all.get("wrinkles"), [wrinkle, wrinkle]);
});
