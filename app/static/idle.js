// What a living head does by itself: it blinks, sways a little, and its eyes dart. Pure timing; the viewer adds it to
// the sliders.

// A human blink closes in about 0.1 s and opens in 0.2 s; people blink every few seconds.
export const CLOSE_S = 0.1;
export const SHUT_S = 0.03;
export const OPEN_S = 0.2;
export const BLINK_EVERY_S = [2, 6];
const BLINK_S = CLOSE_S + SHUT_S + OPEN_S;

// Eyes rest on a point, then dart to another within a few hundredths of a second.
export const LOOK_EVERY_S = [0.7, 2.8];
const DART_S = 0.05;
export const LOOK_LIMIT_DEG = { yaw: 2.2, pitch: 1.2 };

// [degrees, seconds per turn] of slow waves whose lengths share no multiple, so that the sway never seems to repeat.
const SWAY = {
  yaw_deg: [
    [0.9, 7.3],
    [0.5, 4.1],
  ],
  pitch_deg: [
    [0.5, 4.7],
    [0.25, 3.1],
  ],
  roll_deg: [[0.45, 9.7]],
};
export const SWAY_LIMIT_DEG = 1.4;
// The movement grows out of rest.
const EASE_IN_S = 1.5;

const smooth = (x) => {
  const t = Math.min(Math.max(x, 0), 1);
  return t * t * (3 - 2 * t);
};

/** How far the lids are closed, 0..1, `elapsed_s` after a blink began. */
export function blinkAt(elapsed_s) {
  if (elapsed_s <= 0 || elapsed_s >= BLINK_S) return 0;
  if (elapsed_s < CLOSE_S) return smooth(elapsed_s / CLOSE_S);
  return 1 - smooth((elapsed_s - CLOSE_S - SHUT_S) / OPEN_S);
}

export class Idle {
  #random;
  #start_s = null;
  #blink_s = 0;
  #look = { from: [0, 0], to: [0, 0], start_s: 0, end_s: 0 };

  /** random: () => 0..1, for tests. */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /**
   * The movement at a time, which never runs backwards: {closed, yaw_deg, pitch_deg, roll_deg, look_yaw_deg,
   * look_pitch_deg}. The first call is rest. After a gap (a sleeping tab) blinks that were missed are not made up for.
   */
  at(time_s) {
    if (this.#start_s === null) {
      this.#start_s = time_s;
      this.#blink_s = time_s + this.#between(BLINK_EVERY_S);
      this.#look.end_s = time_s + this.#between(LOOK_EVERY_S);
    }
    if (time_s >= this.#blink_s + BLINK_S) {
      this.#blink_s += this.#between(BLINK_EVERY_S);
      if (this.#blink_s < time_s) this.#blink_s = time_s + this.#between(BLINK_EVERY_S);
    }
    if (time_s >= this.#look.end_s) {
      const to = [LOOK_LIMIT_DEG.yaw, LOOK_LIMIT_DEG.pitch].map((limit) => limit * (2 * this.#random() - 1));
      this.#look = { from: this.#look.to, to, start_s: time_s, end_s: time_s + this.#between(LOOK_EVERY_S) };
    }
    const strength = smooth((time_s - this.#start_s) / EASE_IN_S);
    const { from, to, start_s } = this.#look;
    const darted = smooth((time_s - start_s) / DART_S);
    return {
      closed: blinkAt(time_s - this.#blink_s),
      ...Object.fromEntries(
        Object.entries(SWAY).map(([angle, waves]) => [angle, strength * this.#wave(waves, time_s)]),
      ),
      look_yaw_deg: from[0] + darted * (to[0] - from[0]),
      look_pitch_deg: from[1] + darted * (to[1] - from[1]),
    };
  }

  #wave(waves, time_s) {
    const elapsed_s = time_s - this.#start_s;
    return waves.reduce((sum, [size, length_s]) => sum + size * Math.sin((2 * Math.PI * elapsed_s) / length_s), 0);
  }

  #between([low, high]) {
    return low + (high - low) * this.#random();
  }
}
