// How a head's surface is drawn: its own materials with what glTF cannot say about skin, clay, mesh, normals, and a
// checker in the texture atlas.

import * as THREE from "three";
import { freePicture, pictureOf } from "./maps.js";
import { prepareSkin } from "./skin.js";

export const STYLES = ["textured", "clay", "wireframe", "normals", "uv"];

// How light falls off into the mouth: the share that arrives at its back and at its front.
const MOUTH_LIGHT = [0.1, 0.95];
// Reflections in the mouth, which the room cannot reach.
const MOUTH_SHINE = 0.45;
// The cut edge of the neck recedes into the dark: the share of light there, and the height of the fade in metres.
const NECK_LIGHT = 0.08;
const NECK_FADE_M = 0.06;
export const CHECKER_CELLS = 16;
export const CHECKER_PX = 1024;

const { lerp, smoothstep } = THREE.MathUtils;

/** The name and colours of a checker's cell; row and column from the top left of the atlas. Letters name rows. */
export function checkerCell(row, column) {
  const dark = (row + column) % 2 === 1;
  return {
    name: `${String.fromCharCode(65 + row)}${column + 1}`,
    fill: `hsl(${Math.round((360 * column) / CHECKER_CELLS)} ${dark ? 45 : 55}% ${lerp(dark ? 38 : 78, dark ? 26 : 62, row / (CHECKER_CELLS - 1)).toFixed(1)}%)`,
    ink: dark ? "#fff" : "#1b1b1b",
  };
}

function checker() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = CHECKER_PX;
  const context = canvas.getContext("2d");
  const size = CHECKER_PX / CHECKER_CELLS;
  context.font = `600 ${size * 0.42}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let row = 0; row < CHECKER_CELLS; row++) {
    for (let column = 0; column < CHECKER_CELLS; column++) {
      const { name, fill, ink } = checkerCell(row, column);
      context.fillStyle = fill;
      context.fillRect(column * size, row * size, size, size);
      context.fillStyle = ink;
      context.fillText(name, (column + 0.5) * size, (row + 0.52) * size);
    }
  }
  const texture = new THREE.CanvasTexture(canvas);
  texture.colorSpace = THREE.SRGBColorSpace;
  // As glTF's pictures: the first row is v = 0.
  texture.flipY = false;
  texture.anisotropy = 8;
  return texture;
}

/** A style that there is. Throws a TypeError for another name. */
export function checkStyle(style) {
  if (STYLES.includes(style)) return style;
  const names = `${STYLES.slice(0, -1).join(", ")} and ${STYLES.at(-1)}`;
  throw new TypeError(`The viewer has no style ${JSON.stringify(style)}; it has ${names}.`);
}

/** The materials that all heads share, and how each style dresses a head. */
export class Surfaces {
  #clay = new THREE.MeshStandardMaterial({ name: "clay", color: 0xb9b2aa, roughness: 0.62 });
  #normals = new THREE.MeshNormalMaterial({ name: "normals" });
  #checker = null;
  // What is seen through the open neck: the inside of skin and mouth, which are drawn from their fronts alone. Lit like
  // their fronts, back faces would show as dots and outlines where they stand edge-on behind the skin, because
  // renderers without hardware multisampling get the depth of such faces wrong by a sample.
  #inside = new THREE.MeshBasicMaterial({
    color: 0x120a08,
    side: THREE.BackSide,
    shadowSide: THREE.BackSide,
    // Far enough back that it does not show as an outline either.
    polygonOffset: true,
    polygonOffsetFactor: 8,
    polygonOffsetUnits: 64,
  });
  // The edges over a dark surface that hides those behind it.
  #wire = [
    new THREE.MeshStandardMaterial({ color: 0x3a3733, roughness: 0.8, polygonOffset: true, polygonOffsetFactor: 1 }),
    new THREE.MeshBasicMaterial({ color: 0xe8a87c, wireframe: true }),
  ];

  /** Give a head (as readHead returns) the materials of a style; map: or show that map of it (maps.js) instead. */
  dress(head, style, map = "") {
    undress(head);
    if (this.#inspect(head, map)) return;
    for (const mesh of head.meshes) {
      const replacement = this.#replacement(style);
      // Lashes are pictures on sheets: as clay they would be planks.
      mesh.visible = !replacement || mesh.castShadow;
      if (replacement) mesh.material = replacement;
      else if (["skin", "mouth"].includes(mesh.material.name)) mesh.material = [mesh.material, this.#inside];
    }
  }

  // The map as it is, unlit; what else the head has is there to show where it lies.
  #inspect(head, map) {
    if (head.inspected?.map !== map) closeMap(head);
    if (map === "" || !head.maps.has(map)) return false;
    if (!head.inspected) {
      const picture = pictureOf(head, map);
      const texture = new THREE.CanvasTexture(picture);
      texture.colorSpace = THREE.SRGBColorSpace;
      texture.flipY = false;
      texture.anisotropy = 8;
      const plain = { toneMapped: false };
      const skin = new THREE.MeshBasicMaterial({ ...plain, map: texture });
      const grey = new THREE.MeshBasicMaterial({ ...plain, color: 0x4b4845 });
      const own = new Map();
      if (map === "albedo") {
        for (const { material } of head.meshes) {
          const { map: colours, transparent, alphaTest, side } = material;
          own.set(material, new THREE.MeshBasicMaterial({ ...plain, map: colours, transparent, alphaTest, side }));
        }
      }
      head.inspected = { map, picture, texture, skin, grey, own };
    }
    const { skin, grey, own } = head.inspected;
    for (const mesh of head.meshes) {
      const { material } = mesh;
      mesh.visible = mesh.castShadow || own.has(material);
      const shown = material.name === "skin" ? skin : (own.get(material) ?? grey);
      mesh.material = ["skin", "mouth"].includes(material.name) ? [shown, this.#inside] : shown;
    }
    return true;
  }

  dispose() {
    for (const material of [this.#clay, this.#normals, this.#inside, ...this.#wire]) material.dispose();
    this.#checker?.map.dispose();
    this.#checker?.dispose();
  }

  #replacement(style) {
    if (style === "clay") return this.#clay;
    if (style === "normals") return this.#normals;
    if (style === "wireframe") return this.#wire;
    if (style !== "uv") return null;
    this.#checker ??= new THREE.MeshStandardMaterial({ name: "uv", map: checker(), roughness: 0.75 });
    return this.#checker;
  }
}

/** The head's own materials again. */
export function undress(head) {
  for (const [mesh, material] of head.materials) {
    mesh.material = material;
    mesh.visible = true;
  }
}

/** Free what showing a map of a head has taken. */
export function closeMap(head) {
  if (!head.inspected) return;
  const { texture, picture, skin, grey, own } = head.inspected;
  for (const material of [skin, grey, ...own.values()]) material.dispose();
  texture.dispose();
  freePicture(picture);
  head.inspected = null;
}

/**
 * Once for every head that arrives: make its own materials draw what their glTF form cannot say. wrinkles: by mesh, what
 * prepareSkin takes. Fills `head.skins`.
 */
export function prepareMaterials(head, wrinkles = new Map()) {
  head.skins = [];
  for (const mesh of head.meshes) {
    const { material } = mesh;
    // With a list of two materials, both draw everything.
    mesh.geometry.addGroup(0, Infinity, 0);
    mesh.geometry.addGroup(0, Infinity, 1);
    if (["skin", "mouth"].includes(material.name)) material.side = THREE.FrontSide;
    if (["mouth", "teeth", "tongue"].includes(material.name) && "specularIntensity" in material) {
      material.specularIntensity = MOUTH_SHINE;
    }
    if (material.name === "skin") head.skins.push(prepareSkin(mesh, wrinkles.get(mesh)));
  }
  shadeCavities(head);
}

// Occlusion that no lamp's shadow gives, as vertex colours, which multiply the base colour: the mouth darkens towards
// the throat, the neck towards its cut edge.
function shadeCavities(head) {
  // Of the rest shape alone: morphs are not in `position`.
  const boxOf = (mesh) => new THREE.Box3().setFromBufferAttribute(mesh.geometry.attributes.position);
  const mouthParts = head.meshes.filter((mesh) => ["mouth", "teeth", "tongue"].includes(mesh.material.name));
  const mouth = new THREE.Box3();
  for (const mesh of mouthParts) mouth.union(boxOf(mesh));
  for (const mesh of mouthParts) {
    shadeVertices(mesh, ({ z }) => lerp(...MOUTH_LIGHT, smoothstep(z, mouth.min.z, mouth.max.z)));
  }
  for (const mesh of head.meshes.filter((mesh) => mesh.material.name === "skin")) {
    const edge = boxOf(mesh).min.y;
    shadeVertices(mesh, ({ y }) => lerp(NECK_LIGHT, 1, smoothstep(y, edge, edge + NECK_FADE_M)));
  }
}

function shadeVertices(mesh, shade) {
  const { position } = mesh.geometry.attributes;
  const colors = new Float32Array(3 * position.count);
  const point = new THREE.Vector3();
  for (let i = 0; i < position.count; i++) {
    colors.fill(shade(point.fromBufferAttribute(position, i)), 3 * i, 3 * i + 3);
  }
  mesh.geometry.setAttribute("color", new THREE.BufferAttribute(colors, 3));
  mesh.material.vertexColors = true;
}
