// The camera of a photo as three.js wants it, so that a head lies over the photo it was made from.
//
// A fitted camera is OpenCV's (+X right, +Y down, +Z forward, pixels from the top-left corner; core/__init__.py);
// three.js looks along -Z with +Y up. Stage sizes and boxes are in CSS pixels.

import * as THREE from "three";

/**
 * Where a picture lies when it is fitted, whole and centred, into what `insets` leave of a stage.
 *
 * Returns {left, top, width, height, scale}; scale is stage pixels per picture pixel.
 */
export function letterbox(picture, stage, insets = { top: 0, right: 0, bottom: 0, left: 0 }) {
  // A stage smaller than its insets still shows something.
  const roomX = Math.max(1, stage.width - insets.left - insets.right);
  const roomY = Math.max(1, stage.height - insets.top - insets.bottom);
  const scale = Math.min(roomX / picture.width, roomY / picture.height);
  const width = picture.width * scale;
  const height = picture.height * scale;
  return {
    left: insets.left + (roomX - width) / 2,
    top: insets.top + (roomY - height) / 2,
    width,
    height,
    scale,
  };
}

/**
 * The projection of a photo's pinhole camera onto a whole stage in which the photo fills `box` (as letterbox returns).
 *
 * Off-centre, because neither the principal point nor the photo need be in the middle of the stage.
 */
export function stageProjection({ focal_px, principal_x_px, principal_y_px }, box, stage, near_m, far_m) {
  const focal = focal_px * box.scale;
  const centreX = box.left + principal_x_px * box.scale;
  const centreY = box.top + principal_y_px * box.scale;
  return new THREE.Matrix4().makePerspective(
    (-centreX / focal) * near_m,
    ((stage.width - centreX) / focal) * near_m,
    (centreY / focal) * near_m,
    ((centreY - stage.height) / focal) * near_m,
    near_m,
    far_m,
  );
}

/** The place of the camera in the head's frame, as a three.js camera's world matrix. transform: T_camera_head by rows. */
export function cameraMatrix(transform) {
  const T_camera_head = new THREE.Matrix4().set(...transform);
  const flip = new THREE.Matrix4().makeScale(1, -1, -1);
  return flip.multiply(T_camera_head).invert();
}

/** A three.js camera that sees the head as the photo's camera did. photo: fields of set_photo in protocol.js. */
export function photoCamera(photo, box, stage) {
  const camera = new THREE.PerspectiveCamera();
  camera.matrixAutoUpdate = false;
  camera.matrix.copy(cameraMatrix(photo.transform));
  camera.matrix.decompose(camera.position, camera.quaternion, camera.scale);
  camera.updateMatrixWorld(true);
  // Depth of the head frame's origin, between the eyes.
  const depth_m = photo.transform[11];
  camera.projectionMatrix.copy(stageProjection(photo, box, stage, depth_m / 10, depth_m * 10));
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
  return camera;
}

/** Whether a set_photo message brings a fitted camera whose head lies before it. */
export function hasCamera({ url, width_px, height_px, focal_px, transform }) {
  return url !== null && transform.length === 16 && transform[11] > 0 && focal_px > 0 && width_px > 0 && height_px > 0;
}
