import assert from "node:assert/strict";
import { test } from "node:test";
import { litBall, PRESETS, towards } from "../../app/static/lights.js";

const SIZE = 48;
const dark = { sky: 0, horizon: 0, ground: 0, brightness: 1 };
const lamp = (yaw_deg, pitch_deg, color = 0xffffff) => ({ yaw_deg, pitch_deg, color, intensity: 2 });

// Where a ball is brightest, -1..1 to the right and up.
function brightest(pixels) {
  let best = -1;
  let place = null;
  for (let row = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++) {
      const at = 4 * (row * SIZE + column);
      const sum = pixels[at + 3] && pixels[at] + pixels[at + 1] + pixels[at + 2];
      if (sum > best) [best, place] = [sum, [(2 * (column + 0.5)) / SIZE - 1, 1 - (2 * (row + 0.5)) / SIZE]];
    }
  }
  return place;
}

test("a ball is bright where the lamp is, and nothing lies around it", () => {
  for (const [yaw, pitch] of [
    [-40, 30],
    [50, -20],
    [0, 60],
  ]) {
    const pixels = litBall({ ...dark, lamps: [{ ...lamp(yaw, pitch), intensity: 0.5 }] }, SIZE);
    const [x, y] = brightest(pixels);
    const from = towards(yaw, pitch);
    // Between the lamp and what mirrors it.
    assert.ok(Math.sign(x) === Math.sign(from[0]) || Math.abs(from[0]) < 0.1, `${yaw} ${x}`);
    assert.ok(Math.sign(y) === Math.sign(from[1]), `${pitch} ${y}`);
    assert.equal(pixels[3], 0);
    assert.equal(pixels[4 * ((SIZE / 2) * SIZE + SIZE / 2) + 3], 255);
  }
});

test("a ball has the colours of the lamps and of the surroundings", () => {
  const red = litBall({ ...dark, lamps: [lamp(0, 0, 0xff0000)] }, SIZE);
  const middle = 4 * ((SIZE / 2) * SIZE + SIZE / 2);
  assert.ok(red[middle] > 100 && red[middle + 1] === 0);
  const sky = litBall({ lamps: [], sky: 0x0000ff, horizon: 0, ground: 0x00ff00, brightness: 1 }, SIZE);
  const column = SIZE / 2;
  const [above, below] = [2, SIZE - 3].map((row) => 4 * (row * SIZE + column));
  assert.ok(sky[above + 2] > sky[above + 1] && sky[below + 1] > sky[below + 2]);
});

test("no two lights look alike", () => {
  const balls = Object.values(PRESETS).map((preset) => litBall(preset, SIZE));
  assert.equal(balls.length, 6);
  balls.forEach((ball, i) =>
    balls.slice(0, i).forEach((other) => {
      const difference = ball.reduce((sum, value, at) => sum + Math.abs(value - other[at]), 0) / ball.length;
      assert.ok(difference > 8, `${Object.keys(PRESETS)[i]}: ${difference}`);
    }),
  );
});
