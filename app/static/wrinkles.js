// How much each vertex of the skin wrinkles in an expression. The file says it in families of lines (the forehead's,
// those beside an eye ...): which of two layers of lines, which ARKit shapes raise it, and a mask over the vertices;
// core/key_expressions.py states the same rule. Lines of one layer never cross, so a layer is one map.

export const LAYERS = 2;

const clamp01 = (value) => Math.min(Math.max(value, 0), 1);

/** How active a family is, 0..1. gains, weights: by ARKit name. */
export function activity(gains, weights) {
  let sum = 0;
  for (const [name, gain] of Object.entries(gains)) sum += gain * (weights[name] ?? 0);
  return clamp01(sum);
}

/** Whether this is what the writer of a file can have meant: see "wrinkles" in the material's extras. */
export function isWrinkles(extras) {
  const isGains = (gains) => gains !== null && typeof gains === "object" && Object.values(gains).every(Number.isFinite);
  return (
    Array.isArray(extras?.textures) &&
    extras.textures.length === LAYERS &&
    extras.textures.every(Number.isInteger) &&
    Number.isFinite(extras.scale) &&
    Array.isArray(extras.families) &&
    extras.families.length > 0 &&
    extras.families.every(
      ({ layer, gains }) => Number.isInteger(layer) && layer >= 0 && layer < LAYERS && isGains(gains),
    )
  );
}

/** The wrinkles of one head: what changes `weights`, two numbers for each vertex. */
export class Wrinkles {
  #families;
  #active;

  /** families: {layer, gains} as in the file. mask(family, vertex): 0..1. count: of vertices. */
  constructor(families, mask, count) {
    this.weights = new Float32Array(LAYERS * count);
    this.#active = families.map(() => 0);
    // Most vertices are in no family or in one: only those that are in it are kept.
    this.#families = families.map(({ layer, gains }, family) => {
      const places = [];
      const shares = [];
      for (let vertex = 0; vertex < count; vertex++) {
        const share = mask(family, vertex);
        if (share <= 0) continue;
        places.push(LAYERS * vertex + layer);
        shares.push(share);
      }
      return { gains, places: Uint32Array.from(places), shares: Float32Array.from(shares) };
    });
  }

  /** Whether any wrinkle is to be seen. */
  get any() {
    return this.#active.some((value) => value > 0);
  }

  /** Follow an expression (weights by ARKit name); whether `weights` has changed by that. */
  follow(expression) {
    const active = this.#families.map(({ gains }) => activity(gains, expression));
    if (active.every((value, family) => value === this.#active[family])) return false;
    this.#active = active;
    const { weights } = this;
    weights.fill(0);
    this.#families.forEach(({ places, shares }, family) => {
      const strength = active[family];
      if (strength === 0) return;
      for (let i = 0; i < places.length; i++) weights[places[i]] += strength * shares[i];
    });
    for (let i = 0; i < weights.length; i++) if (weights[i] > 1) weights[i] = 1;
    return true;
  }
}
