import assert from "node:assert/strict";
import { test } from "node:test";
import { keyed, limited, panned, placeOf, WHOLE, zoomed } from "../../app/static/atlas.js";

const STAGE = { width: 800, height: 600 };
const PICTURE = { width: 1024, height: 512 };
const close = (a, b) => assert.ok(Math.abs(a - b) < 1e-9, `${a} is not ${b}`);

// Which point of the picture lies at a point of the stage.
function under(view, point) {
  const { left, top, width, height } = placeOf(view, STAGE, PICTURE);
  return [(point.x - left) / width, (point.y - top) / height];
}

test("at first the whole picture is seen, in its shape, in the middle", () => {
  const { left, top, width, height } = placeOf(WHOLE, STAGE, PICTURE);
  close(width / height, 2);
  close(left + width / 2, 400);
  close(top + height / 2, 300);
  assert.ok(left > 0 && top > 0);
});

test("what is under the pointer stays there while zooming and dragging", () => {
  const point = { x: 250, y: 333 };
  const zoom = zoomed(WHOLE, STAGE, PICTURE, 2.5, point);
  close(zoom.zoom, 2.5);
  under(zoom, point).forEach((value, i) => close(value, under(WHOLE, point)[i]));
  const drag = panned(zoom, STAGE, PICTURE, -40, 25);
  under(drag, { x: 210, y: 358 }).forEach((value, i) => close(value, under(zoom, point)[i]));
  const back = zoomed(zoom, STAGE, PICTURE, 1 / 2.5, point);
  for (const key of ["x", "y", "zoom"]) close(back[key], WHOLE[key]);
});

test("nobody gets lost beside the picture or in a texel", () => {
  const far = panned(WHOLE, STAGE, PICTURE, 1e6, -1e6);
  assert.deepEqual([far.x, far.y], [0, 1]);
  const near = zoomed(WHOLE, STAGE, PICTURE, 1e9, { x: 400, y: 300 });
  assert.deepEqual(limited(near), near);
  assert.ok(near.zoom < 100);
});

test("keys move, zoom and bring the whole back; others are left alone", () => {
  assert.ok(keyed(WHOLE, "ArrowRight").x > 0.5);
  assert.ok(keyed(WHOLE, "ArrowLeft").x < 0.5);
  assert.ok(keyed(WHOLE, "ArrowDown").y > 0.5);
  assert.ok(keyed(WHOLE, "ArrowUp").y < 0.5);
  const near = keyed(WHOLE, "+");
  assert.ok(near.zoom > 1);
  close(keyed(near, "-").zoom, 1);
  // Closer up, a step is smaller.
  assert.ok(keyed({ ...WHOLE, zoom: 4 }, "ArrowRight").x < keyed(WHOLE, "ArrowRight").x);
  assert.deepEqual(keyed(near, "0"), WHOLE);
  assert.equal(keyed(WHOLE, "a"), null);
});
