// The lights there are: presets of lamps and surroundings, and the little ball that shows what one looks like. Without
// three.js, because the page shows them too.
//
// Directions are yaw and pitch in degrees as in protocol.py: yaw 0 is before the face, positive towards the head's left
// (the right of the picture), positive pitch is above.

// Lamps: {yaw_deg, pitch_deg, color, intensity, shadow}; shadow is how much of its light the head keeps from itself, or
// 0 for none. The first is the key. A lamp behind the head always casts shadows, or it would shine through into the
// mouth. Surroundings: sky, horizon and ground are colours; panels are softboxes, windows and reflectors: they give eyes
// and skin something to reflect. {yaw_deg, pitch_deg, width, height (metres at 4 m), color, strength, panes?}.
export const PRESETS = {
  // A soft warm key from the upper left, a weak fill opposite, a cool rim behind: a portrait studio.
  studio: {
    label: "Studio",
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
    label: "Daylight",
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
    label: "Dramatic",
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
  // The sun a hand above the sea on one side, a violet sky on the other.
  sunset: {
    label: "Sunset",
    lamps: [
      { yaw_deg: 54, pitch_deg: 13, color: 0xffd3a8, intensity: 2.5, shadow: 0.8, softness: 6 },
      { yaw_deg: -140, pitch_deg: 30, color: 0xc3b4ff, intensity: 1.2, shadow: 1, softness: 9 },
    ],
    sky: 0x6d7aa8,
    horizon: 0xc9a08c,
    ground: 0x4a3f42,
    brightness: 0.5,
    panels: [
      { yaw_deg: 54, pitch_deg: 10, width: 0.7, height: 0.7, color: 0xffc890, strength: 30 },
      { yaw_deg: 70, pitch_deg: 2, width: 5, height: 0.7, color: 0xffb184, strength: 1.2 },
      { yaw_deg: -75, pitch_deg: 24, width: 4, height: 3, color: 0x9aa0dc, strength: 1 },
    ],
  },
  // No sun: a white sky from everywhere above, hardly a shadow.
  overcast: {
    label: "Overcast",
    lamps: [{ yaw_deg: 8, pitch_deg: 58, color: 0xf1f5ff, intensity: 1, shadow: 0.75, softness: 20 }],
    sky: 0xf0f4fb,
    horizon: 0xb9c0c8,
    ground: 0x4c4a47,
    brightness: 0.98,
    panels: [{ yaw_deg: 0, pitch_deg: 80, width: 6, height: 6, color: 0xf4f8ff, strength: 1.9 }],
  },
  // A street of signs at night: magenta from one side, cyan from the other, a white window far before the face.
  neon: {
    label: "Neon",
    lamps: [
      { yaw_deg: -58, pitch_deg: 14, color: 0xff74c8, intensity: 2.3, shadow: 0.8, softness: 8 },
      { yaw_deg: 72, pitch_deg: 8, color: 0x6adcff, intensity: 1.9, shadow: 0.8, softness: 8 },
    ],
    sky: 0x2b3157,
    horizon: 0x4a3c66,
    ground: 0x231f2e,
    brightness: 0.9,
    panels: [
      { yaw_deg: -52, pitch_deg: 10, width: 0.5, height: 3.2, color: 0xff4fb4, strength: 8 },
      { yaw_deg: 66, pitch_deg: 6, width: 0.5, height: 3.2, color: 0x3fdcff, strength: 7 },
      { yaw_deg: 4, pitch_deg: 30, width: 1.6, height: 0.9, color: 0xf2ecff, strength: 5 },
    ],
  },
};

// Grey, a little shiny, as the balls that films are lit with.
const BALL_ALBEDO = 0.42;
const BALL_SHINE = 0.35;
const BALL_SHININESS = 40;

const linear = (code) =>
  [code >> 16, code >> 8, code].map((shifted) => {
    const value = (shifted & 255) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
const encoded = (value) => 255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * Math.min(value, 1) ** (1 / 2.4) - 0.055);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

/** The unit vector [x, y, z] towards a place around the head, for angles in degrees. */
export function towards(yaw_deg, pitch_deg) {
  const [yaw, pitch] = [yaw_deg, pitch_deg].map((angle) => (angle * Math.PI) / 180);
  return [Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch), Math.cos(yaw) * Math.cos(pitch)];
}

/** RGBA bytes of a grey ball in a preset's light, `size` pixels a side, on nothing. */
export function litBall({ lamps, sky, horizon, ground, brightness }, size) {
  const pixels = new Uint8ClampedArray(4 * size * size);
  const [above, level, below] = [sky, horizon, ground].map((code) => linear(code).map((value) => value * brightness));
  const lights = lamps.map(({ yaw_deg, pitch_deg, color, intensity }) => {
    const from = towards(yaw_deg, pitch_deg);
    const half = [from[0], from[1], from[2] + 1];
    const length = Math.hypot(...half) || 1;
    return { from, half: half.map((value) => value / length), color: linear(color).map((value) => value * intensity) };
  });
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const x = (2 * (column + 0.5)) / size - 1;
      const y = 1 - (2 * (row + 0.5)) / size;
      const radius = Math.hypot(x, y);
      const normal = [x, y, Math.sqrt(Math.max(0, 1 - radius * radius))];
      const upper = y > 0 ? above : below;
      const share = Math.abs(y);
      const place = 4 * (row * size + column);
      for (let channel = 0; channel < 3; channel++) {
        let light = level[channel] + (upper[channel] - level[channel]) * share;
        let shine = 0;
        for (const { from, half, color } of lights) {
          light += color[channel] * Math.max(0, dot(normal, from));
          shine += color[channel] * Math.max(0, dot(normal, half)) ** BALL_SHININESS;
        }
        pixels[place + channel] = encoded(Math.max(0, BALL_ALBEDO * light + BALL_SHINE * shine));
      }
      // The edge fades over a pixel.
      pixels[place + 3] = 255 * Math.min(1, Math.max(0, ((1 - radius) * size) / 2));
    }
  }
  return pixels;
}
