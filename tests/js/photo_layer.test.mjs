import assert from "node:assert/strict";
import { test } from "node:test";
import { closeUp } from "../../app/static/photo_layer.js";

// Where a photo's pixel is in its frame, in shares.
const seen = ({ scale, x, y }, [px, py], [width, height]) => [x + (scale * px) / width, y + (scale * py) / height];

test("a face in the middle of a large photo is brought near, and to the middle", () => {
  const size = [1000, 800];
  const close = closeUp([450, 350, 550, 350, 550, 470, 450, 470], ...size);
  assert.ok(close.scale > 2);
  const [x, y] = seen(close, [500, 410], size);
  assert.ok(Math.abs(x - 0.5) < 1e-9 && Math.abs(y - 0.5) < 1e-9);
});

test("the photo fills its frame wherever the face is", () => {
  for (const [x, y] of [
    [0, 0],
    [950, 0],
    [950, 750],
    [300, 400],
  ]) {
    const close = closeUp([x, y, x + 50, y + 50], 1000, 800);
    const [left, top] = seen(close, [0, 0], [1000, 800]);
    const [right, bottom] = seen(close, [1000, 800], [1000, 800]);
    assert.ok(left <= 1e-9 && top <= 1e-9 && right >= 1 - 1e-9 && bottom >= 1 - 1e-9);
    // The face is in the picture, and larger.
    const corners = [seen(close, [x, y], [1000, 800]), seen(close, [x + 50, y + 50], [1000, 800])].flat();
    assert.ok(corners.every((share) => share >= -1e-9 && share <= 1 + 1e-9));
    assert.ok(close.scale > 1);
  }
});

test("a face that fills the photo, and no face, leave it as it is", () => {
  for (const points of [[], [50, 50, 950, 750]]) {
    const close = closeUp(points, 1000, 800);
    assert.deepEqual([close.scale, close.x + 0, close.y + 0], [1, 0, 0]);
  }
});
