// The camera of a photo, against projections computed with K [R | t] as core/camera.py defines them.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import { cameraMatrix, hasCamera, letterbox, photoCamera } from "../../app/static/photo_camera.js";

const close = (a, b, tolerance, what) => assert.ok(Math.abs(a - b) <= tolerance, `${what}: ${a} is not ${b}`);

// A camera that has turned about every axis: rotation by Rodrigues' formula about an odd axis, by half a turn (OpenCV's
// axes) and a little.
function rotation(axis, angle) {
  const length = Math.hypot(...axis);
  const [x, y, z] = axis.map((value) => value / length);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [
    [c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
    [y * x * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s],
    [z * x * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c)],
  ];
}

const R = rotation([1, 0.12, -0.2], Math.PI - 0.2);
const t = [0.06, -0.11, 0.93];
const photo = {
  url: "photo.jpg",
  width_px: 600,
  height_px: 900,
  points_px: [],
  focal_px: 1130,
  principal_x_px: 275,
  principal_y_px: 512,
  transform: [...R[0], t[0], ...R[1], t[1], ...R[2], t[2], 0, 0, 0, 1],
  reading: false,
};
const POINTS = [
  [0, 0, 0],
  [0.03, 0.02, 0.05],
  [-0.06, -0.09, 0.01],
  [0.08, 0.1, -0.11],
];

// x = K (R X + t), pixels from the photo's top-left corner.
function projected(point) {
  const [x, y, z] = R.map((row, i) => row.reduce((sum, value, j) => sum + value * point[j], t[i]));
  return [(photo.focal_px * x) / z + photo.principal_x_px, (photo.focal_px * y) / z + photo.principal_y_px, z];
}

for (const [name, stage] of [
  ["wide", { width: 1280, height: 720 }],
  ["upright", { width: 390, height: 844 }],
  ["odd", { width: 611, height: 97 }],
]) {
  test(`points fall where the photo shows them, on a stage that is ${name}`, () => {
    const insets = { top: 10, right: 20, bottom: 40, left: 5 };
    const box = letterbox({ width: photo.width_px, height: photo.height_px }, stage, insets);
    const camera = photoCamera(photo, box, stage);
    for (const point of POINTS) {
      const [x_px, y_px] = projected(point);
      const ndc = new THREE.Vector3(...point).project(camera);
      close(((ndc.x + 1) / 2) * stage.width, box.left + x_px * box.scale, 1e-6, "x");
      close(((1 - ndc.y) / 2) * stage.height, box.top + y_px * box.scale, 1e-6, "y");
      assert.ok(ndc.z > -1 && ndc.z < 1, "the head lies between the near and the far plane");
    }
  });
}

test("the camera's matrix is a rigid motion to its centre, looking at the head", () => {
  const matrix = cameraMatrix(photo.transform);
  close(matrix.determinant(), 1, 1e-9, "determinant");
  // The camera's centre in the head frame is -R^T t.
  const centre = new THREE.Vector3().setFromMatrixPosition(matrix);
  [0, 1, 2].forEach((j) => close(centre.getComponent(j), -R.reduce((sum, row, i) => sum + row[j] * t[i], 0), 1e-9, j));
  // three.js looks along -Z: that is the third row of R.
  const ahead = new THREE.Vector3(0, 0, -1).transformDirection(matrix);
  R[2].forEach((value, j) => close(ahead.getComponent(j), value, 1e-9, "ahead"));
});

test("nearer points are drawn over farther ones", () => {
  const stage = { width: 100, height: 100 };
  const camera = photoCamera(photo, letterbox({ width: 600, height: 900 }, stage), stage);
  const depths = POINTS.map((point) => [projected(point)[2], new THREE.Vector3(...point).project(camera).z]);
  depths.sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < depths.length; i++) assert.ok(depths[i][1] > depths[i - 1][1]);
});

test("a picture is fitted whole, centred, in its own shape", () => {
  const insets = { top: 10, right: 30, bottom: 50, left: 20 };
  for (const [picture, stage] of [
    [
      { width: 600, height: 900 },
      { width: 1280, height: 720 },
    ],
    [
      { width: 4000, height: 300 },
      { width: 390, height: 844 },
    ],
    [
      { width: 10, height: 10 },
      { width: 800, height: 800 },
    ],
  ]) {
    const box = letterbox(picture, stage, insets);
    close(box.width / box.height, picture.width / picture.height, 1e-9, "shape");
    close(box.scale * picture.width, box.width, 1e-9, "scale");
    const gaps = {
      left: box.left - insets.left,
      right: stage.width - insets.right - box.left - box.width,
      top: box.top - insets.top,
      bottom: stage.height - insets.bottom - box.top - box.height,
    };
    close(gaps.left, gaps.right, 1e-9, "centred across");
    close(gaps.top, gaps.bottom, 1e-9, "centred down");
    // Whole, and no smaller than need be.
    close(Math.min(gaps.left, gaps.top), 0, 1e-9, "as large as fits");
    assert.ok(Math.max(gaps.left, gaps.top) > -1e-9);
  }
});

test("a stage smaller than its insets still gives a picture of positive size", () => {
  const box = letterbox({ width: 3, height: 4 }, { width: 20, height: 20 }, { top: 50, right: 0, bottom: 50, left: 0 });
  assert.ok(box.width > 0 && box.height > 0);
});

test("only a photo with a camera that sees the head can be compared with", () => {
  assert.equal(hasCamera(photo), true);
  const behind = [...photo.transform];
  behind[11] = -0.9;
  for (const change of [
    { url: null },
    { transform: [] },
    { transform: photo.transform.slice(0, 12) },
    { transform: behind },
    { focal_px: 0 },
    { width_px: 0 },
    { height_px: 0 },
  ]) {
    assert.equal(hasCamera({ ...photo, ...change }), false, JSON.stringify(change));
  }
});
