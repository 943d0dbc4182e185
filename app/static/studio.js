// The light on a head: presets of lamps and surroundings, the key light's place, exposure and tone mapping.
//
// Directions are yaw and pitch in degrees as in protocol.py: yaw 0 is before the face, positive towards the head's left
// (the right of the picture), positive pitch is above.

import * as THREE from "three";

const { clamp, degToRad } = THREE.MathUtils;

// What a lamp's place may be turned to; straight above, a lamp has no yaw.
const PITCH_LIMIT_DEG = 85;
const LIMITS = { key: [0, 3], environment: [0, 3], exposure: [0.25, 4] };
// Lamps and shadow maps: metres from the middle of the head, and around it.
const LAMP_DISTANCE_M = 2;
const SHADOW_REACH_M = 0.25;

export const TONE_MAPPINGS = {
  // Khronos' neutral leaves base colours as they are below the highlights: skin keeps its tone.
  neutral: { mapping: THREE.NeutralToneMapping, exposure: 1 },
  // ACES, with deep shadows and warm highlights. AgX, the other film-like curve, leaves faces pale and flat.
  filmic: { mapping: THREE.ACESFilmicToneMapping, exposure: 0.85 },
  none: { mapping: THREE.NoToneMapping, exposure: 1 },
};

// Lamps: {yaw_deg, pitch_deg, color, intensity, shadow}; shadow is how much of its light the head keeps from itself, or
// 0 for none. The first is the key. A lamp behind the head always casts shadows, or it would shine through into the
// mouth. Surroundings: sky, horizon and ground are colours; panels are softboxes, windows and reflectors: they give eyes
// and skin something to reflect. {yaw_deg, pitch_deg, width, height (metres at 4 m), color, strength, panes?}.
export const PRESETS = {
  // A soft warm key from the upper left, a weak fill opposite, a cool rim behind: a portrait studio.
  studio: {
    lamps: [
      { yaw_deg: -31, pitch_deg: 29, color: 0xfff1e2, intensity: 1.8, shadow: 0.62, softness: 9 },
      { yaw_deg: 52, pitch_deg: 6, color: 0xe4ecff, intensity: 0.36, shadow: 0 },
      { yaw_deg: 147, pitch_deg: 26, color: 0xdfe8ff, intensity: 1.4, shadow: 1, softness: 6 },
    ],
    sky: 0x8b8d92,
    horizon: 0x5d5d60,
    ground: 0x35322f,
    brightness: 0.72,
    panels: [
      { yaw_deg: -33, pitch_deg: 34, width: 1.15, height: 1.15, color: 0xfff3e6, strength: 26 },
      { yaw_deg: 62, pitch_deg: 12, width: 0.8, height: 3, color: 0xe8eeff, strength: 2.2 },
      { yaw_deg: 0, pitch_deg: 86, width: 2.5, height: 2.5, color: 0xffffff, strength: 2 },
      { yaw_deg: 150, pitch_deg: 20, width: 1.2, height: 3, color: 0xdfe8ff, strength: 3 },
    ],
  },
  // By a large window under an overcast sky: light from the side and above, wrapped around the face by a bright room.
  daylight: {
    lamps: [
      { yaw_deg: 50, pitch_deg: 34, color: 0xfffaf2, intensity: 1.9, shadow: 0.55, softness: 16 },
      { yaw_deg: -150, pitch_deg: 30, color: 0xe6f0ff, intensity: 0.6, shadow: 1, softness: 9 },
    ],
    sky: 0xc4d8f5,
    horizon: 0xd9dbd8,
    ground: 0x6b5c4c,
    brightness: 0.66,
    panels: [
      { yaw_deg: 48, pitch_deg: 22, width: 1.6, height: 2.1, color: 0xf4f8ff, strength: 13, panes: [2, 3] },
      { yaw_deg: -80, pitch_deg: 5, width: 2.5, height: 3, color: 0xfff4e4, strength: 0.8 },
    ],
  },
  // One hard lamp from the side, a cold edge from behind, almost nothing else.
  dramatic: {
    lamps: [
      { yaw_deg: -64, pitch_deg: 24, color: 0xffe9d2, intensity: 4, shadow: 0.9, softness: 5 },
      { yaw_deg: 132, pitch_deg: 22, color: 0xb9d3ff, intensity: 3.6, shadow: 1, softness: 5 },
    ],
    sky: 0x2a3040,
    horizon: 0x24262e,
    ground: 0x171514,
    brightness: 1.4,
    panels: [
      { yaw_deg: -48, pitch_deg: 24, width: 0.6, height: 1.3, color: 0xffead6, strength: 22 },
      { yaw_deg: 128, pitch_deg: 12, width: 0.7, height: 3, color: 0xb9d3ff, strength: 5 },
    ],
  },
};

/** The unit vector towards a place around the head, for angles in degrees. */
export function direction(yaw_deg, pitch_deg) {
  return new THREE.Vector3().setFromSphericalCoords(1, degToRad(90 - pitch_deg), degToRad(yaw_deg));
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

/** The lamps and surroundings of one scene. */
export class Studio {
  #renderer;
  #scene;
  #shadow_px;
  #lamps = new THREE.Group();
  #environment = null;
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
    if (light.preset !== this.#light?.preset) {
      this.#build(preset);
      this.#surround(preset);
    }
    this.#light = light;
    const [key] = this.#lamps.children;
    key.position.copy(keyDirection(light.preset, light.yaw_deg, light.pitch_deg)).multiplyScalar(LAMP_DISTANCE_M);
    key.intensity = preset.lamps[0].intensity * light.key;
    this.#scene.environmentIntensity = light.environment;
    this.#scene.environmentRotation.set(0, degToRad(light.environment_yaw_deg), 0);
    const { mapping, exposure } = TONE_MAPPINGS[light.tone_mapping];
    this.#renderer.toneMapping = mapping;
    this.#renderer.toneMappingExposure = exposure * light.exposure;
  }

  /** Put the middle of the light where the middle of the head is. */
  centre(point) {
    this.#lamps.position.copy(point);
  }

  /** After the GPU has lost everything: draw the surroundings again. */
  restore() {
    this.#surround(PRESETS[this.#light.preset]);
  }

  dispose() {
    this.#clear();
    this.#environment?.dispose();
    this.#scene.remove(this.#lamps);
  }

  #clear() {
    for (const lamp of this.#lamps.children) lamp.dispose();
    this.#lamps.clear();
  }

  #build({ lamps }) {
    this.#clear();
    for (const { yaw_deg, pitch_deg, color, intensity, shadow, softness } of lamps) {
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

  #surround(preset) {
    const room = surroundings(preset);
    const generator = new THREE.PMREMGenerator(this.#renderer);
    const before = this.#environment;
    this.#environment = generator.fromScene(room, 0.02);
    this.#scene.environment = this.#environment.texture;
    before?.dispose();
    generator.dispose();
    room.traverse((object) => {
      object.geometry?.dispose();
      object.material?.dispose();
    });
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
