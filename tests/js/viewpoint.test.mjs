import assert from "node:assert/strict";
import { test } from "node:test";
import * as THREE from "three";
import {
  between,
  FIELD_OF_VIEW_DEG,
  framingDistance,
  limitView,
  offsetOf,
  PITCH_RANGE_DEG,
  steer,
  viewOf,
  ZOOM_RANGE,
} from "../../app/static/viewpoint.js";

const close = (a, b, what) => assert.ok(Math.abs(a - b) < 1e-9, `${what}: ${a} is not ${b}`);
const same = (a, b) => Object.keys(b).forEach((key) => close(a[key], b[key], key));

test("a view keeps within the limits, and its yaw within half a turn", () => {
  assert.deepEqual(limitView({ yaw_deg: 400, pitch_deg: 89, zoom: 100 }), {
    yaw_deg: 40,
    pitch_deg: PITCH_RANGE_DEG[1],
    zoom: ZOOM_RANGE[1],
  });
  assert.deepEqual(limitView({ yaw_deg: -190, pitch_deg: -89, zoom: 0 }), {
    yaw_deg: 170,
    pitch_deg: PITCH_RANGE_DEG[0],
    zoom: ZOOM_RANGE[0],
  });
});

test("front is +Z, yaw goes to the head's left, pitch goes up", () => {
  const at = (yaw_deg, pitch_deg, zoom) => offsetOf({ yaw_deg, pitch_deg, zoom }, 2).toArray();
  [0, 0, 2].forEach((value, i) => close(at(0, 0, 1)[i], value, "front"));
  [1, 0, 0].forEach((value, i) => close(at(90, 0, 2)[i], value, "side"));
  close(at(0, 30, 1)[1], 1, "height");
});

test("a view comes back from where the camera stands", () => {
  for (const view of [
    { yaw_deg: 0, pitch_deg: 0, zoom: 1 },
    { yaw_deg: -135, pitch_deg: 40, zoom: 0.7 },
    { yaw_deg: 170, pitch_deg: -35, zoom: 5 },
  ]) {
    same(viewOf(offsetOf(view, 1.7), 1.7), view);
  }
});

test("a head that is framed fills the picture's smaller side without leaving it", () => {
  const size = new THREE.Vector3(0.2, 0.3, 0.25);
  for (const aspect of [0.3, 0.46, 1, 1.78, 3]) {
    const camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW_DEG, aspect, 0.01, 20);
    camera.position.z = framingDistance(size, aspect);
    camera.updateMatrixWorld();
    const top = new THREE.Vector3(0, 0.15, 0).project(camera).y;
    const side = new THREE.Vector3(0.125, 0, 0).project(camera).x;
    close(Math.max(top, side), 0.83, `aspect ${aspect}`);
  }
});

test("a turn goes the short way round and ends where it should", () => {
  const from = { yaw_deg: 170, pitch_deg: 10, zoom: 1 };
  const to = { yaw_deg: -170, pitch_deg: 0, zoom: 4 };
  same(between(from, to, 0), from);
  same(between(from, to, 0.5), { yaw_deg: 180, pitch_deg: 5, zoom: 2 });
  same(limitView(between(from, to, 1)), to);
});

test("keys turn and zoom, within the limits, and others are left alone", () => {
  const view = { yaw_deg: 0, pitch_deg: 0, zoom: 1 };
  assert.deepEqual(steer(view, "ArrowRight"), { ...view, yaw_deg: 10 });
  assert.deepEqual(steer(view, "ArrowLeft"), { ...view, yaw_deg: -10 });
  assert.deepEqual(steer(view, "ArrowUp"), { ...view, pitch_deg: 10 });
  assert.deepEqual(steer(view, "ArrowDown"), { ...view, pitch_deg: -10 });
  close(steer(steer(view, "+"), "-").zoom, 1, "in and out");
  assert.equal(steer({ ...view, zoom: ZOOM_RANGE[1] }, "=").zoom, ZOOM_RANGE[1]);
  assert.equal(steer({ ...view, pitch_deg: PITCH_RANGE_DEG[0] }, "ArrowDown").pitch_deg, PITCH_RANGE_DEG[0]);
  for (const key of ["Tab", "Enter", "a", "Escape"]) assert.equal(steer(view, key), null);
});
