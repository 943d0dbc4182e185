import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BLINK_EVERY_S,
  blinkAt,
  CLOSE_S,
  Idle,
  LOOK_LIMIT_DEG,
  OPEN_S,
  SHUT_S,
  SWAY_LIMIT_DEG,
} from "../../app/static/idle.js";

// A small generator with a seed (Park and Miller), so that a failure can be seen again.
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

const STEP_S = 0.01;

function film(seed, length_s, start_s = 100) {
  const idle = new Idle(seeded(seed));
  const count = Math.round(length_s / STEP_S);
  return Array.from({ length: count }, (_, i) => ({ time_s: start_s + i * STEP_S, ...idle.at(start_s + i * STEP_S) }));
}

test("a blink shuts the eyes in 0.1 s and opens them in 0.2 s", () => {
  assert.equal(blinkAt(-1), 0);
  assert.equal(blinkAt(0), 0);
  assert.equal(blinkAt(CLOSE_S), 1);
  assert.equal(blinkAt(CLOSE_S + SHUT_S), 1);
  assert.equal(blinkAt(CLOSE_S + SHUT_S + OPEN_S), 0);
  assert.deepEqual([CLOSE_S, OPEN_S], [0.1, 0.2]);
  for (let t = 0.005; t < CLOSE_S; t += 0.005) assert.ok(blinkAt(t) > blinkAt(t - 0.005));
  for (let t = CLOSE_S + SHUT_S + 0.005; t < 0.33; t += 0.005) assert.ok(blinkAt(t) < blinkAt(t - 0.005));
});

test("blinks come two to six seconds apart, each shut once, at uneven times", () => {
  for (const seed of [1, 7, 1234]) {
    const frames = film(seed, 300);
    const starts = frames.filter((frame, i) => frame.closed > 0 && (i === 0 || frames[i - 1].closed === 0));
    const gaps = starts.slice(1).map((frame, i) => frame.time_s - starts[i].time_s);
    assert.ok(gaps.length > 40);
    for (const gap of [starts[0].time_s - 100, ...gaps]) {
      assert.ok(gap >= BLINK_EVERY_S[0] - 2 * STEP_S && gap <= BLINK_EVERY_S[1] + 2 * STEP_S, `${gap} s`);
    }
    assert.ok(Math.max(...gaps) - Math.min(...gaps) > 2);
    // The film's steps meet the moment when the lids are shut; its end may cut a blink short.
    const shut = frames.filter((frame, i) => frame.closed === 1 && frames[i - 1].closed < 1).length;
    assert.equal(shut, starts.filter((frame) => frame.time_s < frames.at(-1).time_s - CLOSE_S - STEP_S).length);
  }
});

test("the head sways a little, starting from rest and without jumps", () => {
  const frames = film(3, 120);
  for (const angle of ["yaw_deg", "pitch_deg", "roll_deg"]) {
    assert.equal(frames[0][angle], 0);
    const values = frames.map((frame) => frame[angle]);
    assert.ok(Math.max(...values) > 0.3 && Math.min(...values) < -0.3, angle);
    assert.ok(values.every((value) => Math.abs(value) <= SWAY_LIMIT_DEG));
    // A degree or two a second at most.
    assert.ok(values.slice(1).every((value, i) => Math.abs(value - values[i]) < 2 * STEP_S + 1e-9));
  }
});

test("the eyes dart and rest, within a small range", () => {
  const frames = film(5, 60);
  assert.deepEqual([frames[0].look_yaw_deg, frames[0].look_pitch_deg], [0, 0]);
  assert.ok(frames.every((frame) => Math.abs(frame.look_yaw_deg) <= LOOK_LIMIT_DEG.yaw));
  assert.ok(frames.every((frame) => Math.abs(frame.look_pitch_deg) <= LOOK_LIMIT_DEG.pitch));
  const moving = frames.slice(1).filter((frame, i) => frame.look_yaw_deg !== frames[i].look_yaw_deg);
  assert.ok(moving.length > 30 && moving.length < 0.15 * frames.length, `${moving.length} of ${frames.length}`);
});

test("a tab that slept for an hour does not make up for missed blinks", () => {
  const idle = new Idle(seeded(9));
  idle.at(0);
  const after = Array.from({ length: 200 }, (_, i) => idle.at(3600 + i * STEP_S).closed);
  assert.ok(after.every((closed) => closed === 0));
  const later = Array.from({ length: 700 }, (_, i) => idle.at(3602 + i * STEP_S).closed);
  assert.ok(later.includes(1));
});

test("the same chance gives the same film, another one another", () => {
  assert.deepEqual(film(11, 20), film(11, 20));
  assert.notDeepEqual(film(11, 20), film(12, 20));
});
