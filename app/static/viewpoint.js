// Where the camera may stand: on a sphere around a target near the head. Angles in degrees, lengths in metres.

import * as THREE from "three";

// A portrait lens: about 85 mm on full frame. Wider ones swell the nose.
export const FIELD_OF_VIEW_DEG = 16;
// Nobody looks good from far below, where the neck is cut, or from straight above.
export const PITCH_RANGE_DEG = [-40, 60];
export const ZOOM_RANGE = [0.6, 6];
// How far the target may be moved from the middle of the head, as a share of the head's height: the head stays in the
// picture.
export const PAN_LIMIT = 0.4;
// How much of the picture's smaller side the head fills at zoom 1.
const FILL = 0.83;

const { clamp, degToRad, radToDeg } = THREE.MathUtils;

/** The distance at which a head of this size (a Vector3), from any side, fills FILL of a picture of this aspect. */
export function framingDistance(size, aspect) {
  const halfTan = Math.tan(degToRad(FIELD_OF_VIEW_DEG) / 2);
  return Math.max(size.y / 2 / halfTan, Math.max(size.x, size.z) / 2 / (halfTan * aspect)) / FILL;
}

/** A view within the limits: {yaw_deg in -180..180, pitch_deg, zoom}. */
export function limitView({ yaw_deg, pitch_deg, zoom }) {
  return {
    yaw_deg: yaw_deg - 360 * Math.round(yaw_deg / 360),
    pitch_deg: clamp(pitch_deg, ...PITCH_RANGE_DEG),
    zoom: clamp(zoom, ...ZOOM_RANGE),
  };
}

/** The way from the target to the camera, in metres, for a view; framed_m: the distance of zoom 1. */
export function offsetOf(view, framed_m) {
  const { yaw_deg, pitch_deg, zoom } = limitView(view);
  return new THREE.Vector3().setFromSphericalCoords(framed_m / zoom, degToRad(90 - pitch_deg), degToRad(yaw_deg));
}

/** The view that an offset from target to camera is: the inverse of offsetOf within the limits. */
export function viewOf(offset, framed_m) {
  const { radius, phi, theta } = new THREE.Spherical().setFromVector3(offset);
  return { yaw_deg: radToDeg(theta), pitch_deg: 90 - radToDeg(phi), zoom: framed_m / radius };
}

/** A view on the way from one to another, share 0..1: the short way round, zoom by even factors. */
export function between(from, to, share) {
  const turn = to.yaw_deg - from.yaw_deg;
  return {
    yaw_deg: from.yaw_deg + share * (turn - 360 * Math.round(turn / 360)),
    pitch_deg: from.pitch_deg + share * (to.pitch_deg - from.pitch_deg),
    zoom: from.zoom * (to.zoom / from.zoom) ** share,
  };
}

/** What a key does to a view (a new one), or null where the key is not ours. */
export function steer(view, key) {
  if (key === "ArrowLeft") return limitView({ ...view, yaw_deg: view.yaw_deg - 10 });
  if (key === "ArrowRight") return limitView({ ...view, yaw_deg: view.yaw_deg + 10 });
  if (key === "ArrowUp") return limitView({ ...view, pitch_deg: view.pitch_deg + 10 });
  if (key === "ArrowDown") return limitView({ ...view, pitch_deg: view.pitch_deg - 10 });
  if (key === "+" || key === "=") return limitView({ ...view, zoom: view.zoom * 1.15 });
  if (key === "-" || key === "_") return limitView({ ...view, zoom: view.zoom / 1.15 });
  return null;
}
