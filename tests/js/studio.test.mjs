import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import { PRESETS } from "../../app/static/lights.js";
import { DEFAULT_LIGHT, direction, keyDirection, limitLight, TONE_MAPPINGS } from "../../app/static/studio.js";

const close = (a, b, what) => assert.ok(Math.abs(a - b) < 1e-9, `${what}: ${a} is not ${b}`);
const pitchOf = (vector) => THREE.MathUtils.radToDeg(Math.asin(vector.y));

test("directions: the face looks along +Z, yaw goes to its left, pitch goes up", () => {
  [
    [direction(0, 0), [0, 0, 1]],
    [direction(90, 0), [1, 0, 0]],
    [direction(-90, 0), [-1, 0, 0]],
    [direction(30, 90), [0, 1, 0]],
    [direction(180, 0), [0, 0, -1]],
  ].forEach(([vector, wanted]) => wanted.forEach((value, i) => close(vector.getComponent(i), value, wanted)));
});

test("the key light turns from its preset's place and stops short of straight above", () => {
  for (const [name, { lamps }] of Object.entries(PRESETS)) {
    const [key] = lamps;
    assert.deepEqual(keyDirection(name, 0, 0), direction(key.yaw_deg, key.pitch_deg));
    // Half a turn on the same height is the other side.
    const [here, there] = [keyDirection(name, 0, 0), keyDirection(name, 180, 0)];
    close(there.x, -here.x, "x");
    close(there.y, here.y, "y");
    close(there.z, -here.z, "z");
    assert.ok(pitchOf(keyDirection(name, 0, 20)) > pitchOf(here));
    close(pitchOf(keyDirection(name, 0, 500)), 85, "above");
    close(pitchOf(keyDirection(name, 0, -500)), -85, "below");
  }
});

test("every preset lights the face from the front and lets nothing shine through the head", () => {
  for (const [name, { lamps }] of Object.entries(PRESETS)) {
    const [key] = lamps;
    assert.ok(direction(key.yaw_deg, key.pitch_deg).z > 0, `${name}: the key is before the face`);
    assert.ok(key.shadow > 0, `${name}: the key casts shadows`);
    assert.ok(
      key.intensity >=
        Math.max(...lamps.filter((l) => direction(l.yaw_deg, l.pitch_deg).z > 0).map((l) => l.intensity)),
    );
    for (const lamp of lamps) {
      if (direction(lamp.yaw_deg, lamp.pitch_deg).z < 0) assert.equal(lamp.shadow, 1, `${name}: a lamp from behind`);
    }
  }
});

test("strengths are held within what still shows a face", () => {
  const wild = limitLight({ ...DEFAULT_LIGHT, key: -1, environment: 99, exposure: 0 });
  assert.deepEqual([wild.key, wild.environment, wild.exposure], [0, 3, 0.25]);
  assert.deepEqual(limitLight(DEFAULT_LIGHT), DEFAULT_LIGHT);
});

test("a preset or a tone mapping that is not there is refused by name", () => {
  assert.throws(
    () => limitLight({ ...DEFAULT_LIGHT, preset: "disco" }),
    /preset "disco"; it has studio, daylight, dramatic, sunset, overcast, neon/,
  );
  assert.throws(() => limitLight({ ...DEFAULT_LIGHT, preset: "toString" }), TypeError);
  assert.throws(
    () => limitLight({ ...DEFAULT_LIGHT, tone_mapping: "x" }),
    /tone_mapping "x"; it has neutral, filmic, none/,
  );
  for (const tone_mapping of Object.keys(TONE_MAPPINGS)) limitLight({ ...DEFAULT_LIGHT, tone_mapping });
});
