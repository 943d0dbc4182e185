// A head as the viewer holds it: read from a GLB, posed, and freed again.

import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { mapsOf } from "./maps.js";
import { lookWeights, morphWeights } from "./morph_weights.js";
import { followExpression } from "./skin.js";
import { closeMap, prepareMaterials, undress } from "./surfaces.js";
import { isWrinkles, Wrinkles } from "./wrinkles.js";

const { degToRad } = THREE.MathUtils;

// Share of the head's turn that the neck takes, as in people.
const NECK_SHARE = 0.4;

const loader = new GLTFLoader();

/**
 * Read the bytes of a GLB: {root, meshes, materials, bones, restRotations, names, ownWeights, words, size, centre, skins,
 * maps}. skins: of prepareSkin; maps: of the skin, by their names in maps.js. words: by name, how much of the stored expression comes from words; `ownWeights` are what is left, the head's own.
 *
 * Works without WebGL. Throws an Error with a sentence where the bytes are no head.
 */
export async function readHead(bytes, words = {}) {
  let gltf;
  try {
    // A copy, because the bytes are kept for saving.
    gltf = await loader.parseAsync(bytes.slice(0), "");
  } catch (error) {
    throw new Error(
      `The head's file arrived damaged (${error.message}), so it is not shown. Make the head again; if that fails, reload the page.`,
      { cause: error },
    );
  }
  const head = { root: gltf.scene, meshes: [], materials: new Map(), bones: new Map(), restRotations: new Map() };
  Object.assign(head, { names: new Map(), ownWeights: new Map(), words });
  head.root.updateMatrixWorld(true);
  head.root.traverse((object) => {
    if (object.isBone) {
      head.bones.set(object.name, object);
      head.restRotations.set(object, object.quaternion.clone());
    }
    if (!object.isMesh) return;
    head.meshes.push(object);
    head.materials.set(object, object.material);
    const names = [];
    for (const [name, index] of Object.entries(object.morphTargetDictionary ?? {})) names[index] = name;
    head.names.set(object, names);
    const stored = object.morphTargetInfluences ?? [];
    head.ownWeights.set(
      object,
      stored.map((weight, index) => weight - (words[names[index]] ?? 0)),
    );
    // Expressions leave the bounds of the rest pose; a head is never worth culling.
    object.frustumCulled = false;
    object.castShadow = !object.material.transparent && !object.material.alphaTest;
    // Teeth shine through, and under the lip's shadow they would look grey; how deep they stand dims them anyway.
    object.receiveShadow = object.material.name !== "teeth";
    for (const texture of texturesOf(object.material)) texture.anisotropy = 8;
  });
  if (head.meshes.length === 0) {
    disposeHead(head);
    throw new Error("The head's file holds no surface, so there is nothing to show. Make the head again.");
  }
  const wrinkles = new Map();
  for (const mesh of head.meshes) {
    const found = await readWrinkles(gltf.parser, mesh);
    if (found) wrinkles.set(mesh, found);
  }
  prepareMaterials(head, wrinkles);
  const [skin] = head.skins;
  head.maps = skin ? mapsOf(skin.material, skin.wrinkles?.textures) : new Map();
  // The rest geometry, not Box3.setFromObject, which adds every morph at once.
  const box = new THREE.Box3();
  const point = new THREE.Vector3();
  for (const mesh of head.meshes) {
    const { position } = mesh.geometry.attributes;
    for (let i = 0; i < position.count; i++) {
      box.expandByPoint(point.fromBufferAttribute(position, i).applyMatrix4(mesh.matrixWorld));
    }
  }
  head.size = box.getSize(new THREE.Vector3());
  head.centre = box.getCenter(new THREE.Vector3());
  return head;
}

const MASK = /^_wrinkles_\d+$/;

// The wrinkles of a mesh: {field, textures, scale} as prepareSkin takes them, or null. Without a normal map there is nothing
// that they could be added to. Masks are read once, and are no business of the graphics card's.
async function readWrinkles(parser, { geometry, material }) {
  const masks = Object.keys(geometry.attributes)
    .filter((name) => MASK.test(name))
    .sort()
    .map((name) => geometry.attributes[name]);
  for (const name of Object.keys(geometry.attributes)) if (MASK.test(name)) geometry.deleteAttribute(name);
  const said = material.userData.likeness?.wrinkles;
  if (!material.normalMap || !isWrinkles(said) || said.families.length > 4 * masks.length) return null;
  const textures = await Promise.all(said.textures.map((index) => parser.getDependency("texture", index)));
  if (!textures.every(Boolean)) return null;
  for (const texture of textures) texture.anisotropy = 8;
  const mask = (family, vertex) => masks[family >> 2].getComponent(vertex, family & 3);
  return { field: new Wrinkles(said.families, mask, geometry.attributes.position.count), textures, scale: said.scale };
}

/** What the page is told about a head: {triangles, morphs, joints, maps}. */
export function describeHead(head) {
  const triangles = head.meshes.reduce(
    (sum, { geometry }) => sum + (geometry.index ?? geometry.attributes.position).count / 3,
    0,
  );
  return {
    triangles,
    morphs: [...new Set([...head.names.values()].flat())],
    joints: [...head.bones.keys()],
    maps: [...head.maps.keys()],
  };
}

/**
 * Pose a head. expression, pose, gaze: as the messages set_expression, set_pose and set_gaze. idle: what Idle.at
 * returns, or null.
 */
export function poseHead(head, expression, pose, gaze, idle) {
  const look = {
    yaw_deg: gaze.yaw_deg + (idle?.look_yaw_deg ?? 0),
    pitch_deg: gaze.pitch_deg + (idle?.look_pitch_deg ?? 0),
  };
  // Where the head has eyeLook shapes, a gaze is morphs like any other, and the lids follow.
  const looks = head.meshes.some((mesh) => mesh.morphTargetDictionary?.eyeLookOutLeft !== undefined);
  const added = looks ? [expression.weights, lookWeights(look)] : [expression.weights];
  for (const mesh of head.meshes) {
    const own = expression.own ? head.ownWeights.get(mesh) : [];
    const weights = morphWeights(head.names.get(mesh), own, added, idle?.closed);
    weights.forEach((weight, index) => (mesh.morphTargetInfluences[index] = weight));
  }
  for (const skin of head.skins) followExpression(skin, weightsOf(skin.mesh));
  const turn = (joint, share, angles) => turnBone(head, joint, share, angles);
  turn("neck", NECK_SHARE, pose);
  // Nobody sways with the neck alone.
  turn("head", 1, {
    yaw_deg: pose.yaw_deg * (1 - NECK_SHARE) + (idle?.yaw_deg ?? 0),
    pitch_deg: pose.pitch_deg * (1 - NECK_SHARE) + (idle?.pitch_deg ?? 0),
    roll_deg: pose.roll_deg * (1 - NECK_SHARE) + (idle?.roll_deg ?? 0),
  });
  for (const eye of ["leftEye", "rightEye"]) turn(eye, looks ? 0 : 1, { ...look, roll_deg: 0 });
}

// What a mesh shows, by name.
function weightsOf({ morphTargetDictionary, morphTargetInfluences }) {
  const entries = Object.entries(morphTargetDictionary ?? {});
  return Object.fromEntries(entries.map(([name, index]) => [name, morphTargetInfluences[index]]));
}

// Joints rest axis-aligned with the head frame, so Euler angles in it are rotations about its own axes. Yaw is
// outermost: a turned head nods about its own ears.
function turnBone(head, joint, share, { yaw_deg, pitch_deg, roll_deg }) {
  const bone = head.bones.get(joint);
  if (!bone) return;
  const angles = [pitch_deg, yaw_deg, roll_deg].map((angle) => degToRad(angle * share));
  const rotation = new THREE.Quaternion().setFromEuler(new THREE.Euler(...angles, "YXZ"));
  bone.quaternion.copy(head.restRotations.get(bone)).multiply(rotation);
}

/** Bytes of a head on the graphics card, about: every texture with its chain of smaller ones, and its morphs. */
export function textureBytes(head) {
  const textures = new Set(head.meshes.flatMap((mesh) => texturesOf(head.materials.get(mesh))));
  for (const { wrinkles } of head.skins) for (const texture of wrinkles?.textures ?? []) textures.add(texture);
  if (head.inspected) textures.add(head.inspected.texture);
  const pictures = [...textures].reduce(
    (sum, { image }) => sum + (4 / 3) * 4 * (image?.width ?? 0) * (image?.height ?? 0),
    0,
  );
  // As three.js keeps them: four floats for each offset of each vertex.
  const morphs = head.meshes.reduce((sum, { geometry }) => {
    const lists = Object.values(geometry.morphAttributes);
    return sum + 16 * geometry.attributes.position.count * lists.reduce((count, list) => count + list.length, 0);
  }, 0);
  return Math.round(pictures + morphs);
}

/** Free what a head holds on the GPU and in decoded pictures: three.js frees nothing by itself. */
export function disposeHead(head) {
  head.root.removeFromParent();
  closeMap(head);
  undress(head);
  for (const { wrinkles } of head.skins ?? []) wrinkles?.textures.forEach(freeTexture);
  for (const mesh of head.meshes) {
    mesh.skeleton?.dispose();
    mesh.geometry.dispose();
    texturesOf(mesh.material).forEach(freeTexture);
    mesh.material.dispose();
  }
}

function freeTexture(texture) {
  texture.source.data?.close?.();
  texture.dispose();
}

function texturesOf(material) {
  return Object.values(material).filter((value) => value?.isTexture);
}
