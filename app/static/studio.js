// The light on a head: the lamps and surroundings of a preset of lights.js, the key light's place, a visitor's own
// surroundings, exposure and tone mapping. Directions are those of lights.js.

import * as THREE from "three";
import { HDRLoader } from "three/addons/loaders/HDRLoader.js";
import { checkHdr, reduceHdr } from "./hdr.js";
import { PRESETS, towards } from "./lights.js";

const { clamp, degToRad } = THREE.MathUtils;

// What a lamp's place may be turned to; straight above, a lamp has no yaw.
const PITCH_LIMIT_DEG = 85;
const LIMITS = { key: [0, 3], environment: [0, 3], exposure: [0.25, 4] };
// Lamps and shadow maps: metres from the middle of the head, and around it.
const LAMP_DISTANCE_M = 2;
const SHADOW_REACH_M = 0.25;
// three.js has the middle of a picture of the surroundings to the side; ours is before the face, as in core/environment.
const OWN_YAW_DEG = -90;

export const TONE_MAPPINGS = {
  // Khronos' neutral leaves base colours as they are below the highlights: skin keeps its tone.
  neutral: { mapping: THREE.NeutralToneMapping, exposure: 1 },
  // ACES, with deep shadows and warm highlights. AgX, the other film-like curve, leaves faces pale and flat.
  filmic: { mapping: THREE.ACESFilmicToneMapping, exposure: 0.85 },
  none: { mapping: THREE.NoToneMapping, exposure: 1 },
};

/** The unit vector towards a place around the head, for angles in degrees. */
export function direction(yaw_deg, pitch_deg) {
  return new THREE.Vector3(...towards(yaw_deg, pitch_deg));
}

/** The unit vector towards a preset's key light, turned by these angles. */
export function keyDirection(preset, yaw_deg, pitch_deg) {
  const [key] = PRESETS[preset].lamps;
  return direction(key.yaw_deg + yaw_deg, clamp(key.pitch_deg + pitch_deg, -PITCH_LIMIT_DEG, PITCH_LIMIT_DEG));
}

/** A set_light message with its strengths within the limits. Throws a TypeError for a preset or mapping there is not. */
export function limitLight(light) {
  for (const [field, table] of [
    ["preset", PRESETS],
    ["tone_mapping", TONE_MAPPINGS],
  ]) {
    if (!Object.hasOwn(table, light[field])) {
      throw new TypeError(
        `The viewer has no ${field} ${JSON.stringify(light[field])}; it has ${Object.keys(table).join(", ")}.`,
      );
    }
  }
  const limited = Object.entries(LIMITS).map(([field, [low, high]]) => [field, clamp(light[field], low, high)]);
  return { ...light, ...Object.fromEntries(limited) };
}

export const DEFAULT_LIGHT = {
  preset: "studio",
  yaw_deg: 0,
  pitch_deg: 0,
  key: 1,
  environment: 1,
  environment_yaw_deg: 0,
  exposure: 1,
  tone_mapping: "neutral",
};

/**
 * The surroundings in a visitor's file: a texture that `Studio.surroundWith` takes. blob: of a .hdr picture. Throws an
 * Error with a sentence where it is none, damaged or too large.
 */
export async function readSurroundings(name, blob) {
  checkHdr(name, blob.size, new Uint8Array(await blob.slice(0, 8192).arrayBuffer()));
  let decoded;
  try {
    decoded = new HDRLoader().parse(await blob.arrayBuffer());
  } catch (error) {
    throw new Error(`${name} is damaged and cannot be read (${error.message}). Fetch the file anew.`, { cause: error });
  }
  const { data, width, height } = reduceHdr(name, decoded, THREE.DataUtils.fromHalfFloat);
  const halves = Uint16Array.from(data, (value) => THREE.DataUtils.toHalfFloat(Math.min(value, 65504)));
  const texture = new THREE.DataTexture(halves, width, height, THREE.RGBAFormat, THREE.HalfFloatType);
  texture.mapping = THREE.EquirectangularReflectionMapping;
  texture.colorSpace = THREE.LinearSRGBColorSpace;
  texture.minFilter = texture.magFilter = THREE.LinearFilter;
  texture.flipY = true;
  texture.needsUpdate = true;
  return texture;
}

/** The lamps and surroundings of one scene. */
export class Studio {
  #renderer;
  #scene;
  #shadow_px;
  #lamps = new THREE.Group();
  #environment = null;
  // A visitor's own surroundings, in place of the preset's; null: there are none.
  #own = null;
  #light = null;

  /** shadow_px: the side of shadow maps. */
  constructor(renderer, scene, shadow_px) {
    this.#renderer = renderer;
    this.#scene = scene;
    this.#shadow_px = shadow_px;
    scene.add(this.#lamps);
    this.set(DEFAULT_LIGHT);
  }

  /** Light the scene as a set_light message says. */
  set(message) {
    const light = limitLight(message);
    const preset = PRESETS[light.preset];
    const before = this.#light?.preset;
    this.#light = light;
    if (light.preset !== before) {
      this.#build(preset);
      this.#surround();
    }
    const [key] = this.#lamps.children;
    key.position.copy(keyDirection(light.preset, light.yaw_deg, light.pitch_deg)).multiplyScalar(LAMP_DISTANCE_M);
    key.intensity = preset.lamps[0].intensity * light.key;
    this.#scene.environmentIntensity = light.environment;
    const turn_deg = light.environment_yaw_deg + (this.#own ? OWN_YAW_DEG : 0);
    this.#scene.environmentRotation.set(0, degToRad(turn_deg), 0);
    const { mapping, exposure } = TONE_MAPPINGS[light.tone_mapping];
    this.#renderer.toneMapping = mapping;
    this.#renderer.toneMappingExposure = exposure * light.exposure;
  }

  /** Put the middle of the light where the middle of the head is. */
  centre(point) {
    this.#lamps.position.copy(point);
  }

  /**
   * Surroundings of a visitor's own, as readSurroundings returns, or the preset's again (null). They light the head with
   * the preset's key lamp alone: what else shines is in them.
   */
  surroundWith(texture) {
    if (this.#own === texture) return;
    this.#own?.dispose();
    this.#own = texture;
    this.#build(PRESETS[this.#light.preset]);
    this.#surround();
    this.set(this.#light);
  }

  /** After the GPU has lost everything: draw the surroundings again. */
  restore() {
    this.#surround();
  }

  /** Bytes of the textures that light takes: the surroundings, and a shadow map for each lamp that casts one. */
  get textureBytes() {
    const { width, height } = this.#environment;
    const shadows = this.#lamps.children.filter((lamp) => lamp.castShadow).length;
    return 8 * width * height + 4 * this.#shadow_px ** 2 * shadows;
  }

  dispose() {
    this.#clear();
    this.#environment?.dispose();
    this.#own?.dispose();
    this.#scene.remove(this.#lamps);
  }

  #clear() {
    for (const lamp of this.#lamps.children) lamp.dispose();
    this.#lamps.clear();
  }

  #build({ lamps }) {
    this.#clear();
    const lit = this.#own ? lamps.slice(0, 1) : lamps;
    for (const { yaw_deg, pitch_deg, color, intensity, shadow, softness } of lit) {
      const lamp = new THREE.DirectionalLight(color, intensity);
      lamp.position.copy(direction(yaw_deg, pitch_deg)).multiplyScalar(LAMP_DISTANCE_M);
      // A target inside the lamp would turn with it; the middle of the group stays.
      lamp.target = this.#lamps;
      if (shadow > 0) this.#castShadow(lamp, shadow, softness);
      this.#lamps.add(lamp);
    }
  }

  #castShadow(lamp, intensity, softness) {
    lamp.castShadow = true;
    lamp.shadow.mapSize.set(this.#shadow_px, this.#shadow_px);
    // In texels, so that it is as wide in a smaller map.
    lamp.shadow.radius = (softness * this.#shadow_px) / 1024;
    lamp.shadow.bias = -0.0006;
    lamp.shadow.normalBias = 0.004;
    // Less than all: skin scatters light into its shadows.
    lamp.shadow.intensity = intensity;
    const reach = SHADOW_REACH_M;
    Object.assign(lamp.shadow.camera, { left: -reach, right: reach, top: reach, bottom: -reach });
    Object.assign(lamp.shadow.camera, { near: LAMP_DISTANCE_M - 0.6, far: LAMP_DISTANCE_M + 0.6 });
  }

  #surround() {
    const generator = new THREE.PMREMGenerator(this.#renderer);
    const before = this.#environment;
    if (this.#own) this.#environment = generator.fromEquirectangular(this.#own);
    else {
      const room = surroundings(PRESETS[this.#light.preset]);
      this.#environment = generator.fromScene(room, 0.02);
      room.traverse((object) => {
        object.geometry?.dispose();
        object.material?.dispose();
      });
    }
    this.#scene.environment = this.#environment.texture;
    before?.dispose();
    generator.dispose();
  }
}

// A scene of a graded sky and shining panels, to be reflected.
function surroundings({ sky, horizon, ground, brightness, panels }) {
  const room = new THREE.Scene();
  const dome = new THREE.SphereGeometry(20, 32, 24);
  const position = dome.attributes.position;
  const colors = new Float32Array(3 * position.count);
  const ends = [ground, horizon, sky].map((color) => new THREE.Color(color).multiplyScalar(brightness));
  const color = new THREE.Color();
  for (let i = 0; i < position.count; i++) {
    const height = position.getY(i) / 20;
    color
      .lerpColors(ends[1], height < 0 ? ends[0] : ends[2], Math.min(1, Math.abs(height) * 1.6))
      .toArray(colors, 3 * i);
  }
  dome.setAttribute("color", new THREE.BufferAttribute(colors, 3));
  room.add(new THREE.Mesh(dome, new THREE.MeshBasicMaterial({ vertexColors: true, side: THREE.BackSide })));
  for (const { yaw_deg, pitch_deg, width, height, color: tint, strength, panes = [1, 1] } of panels) {
    const panel = new THREE.Group();
    const material = new THREE.MeshBasicMaterial({ color: new THREE.Color(tint).multiplyScalar(strength) });
    const [columns, rows] = panes;
    // Bars between the panes of a window take a tenth.
    const pane = new THREE.PlaneGeometry((width / columns) * 0.9, (height / rows) * 0.9);
    for (let column = 0; column < columns; column++) {
      for (let row = 0; row < rows; row++) {
        const mesh = new THREE.Mesh(pane, material);
        mesh.position.set(((column + 0.5) / columns - 0.5) * width, ((row + 0.5) / rows - 0.5) * height, 0);
        panel.add(mesh);
      }
    }
    panel.position.copy(direction(yaw_deg, pitch_deg)).multiplyScalar(4);
    panel.lookAt(0, 0, 0);
    room.add(panel);
  }
  return room;
}
