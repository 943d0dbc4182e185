// The panel Person: which random head is on show, nine more to choose from, and what can be said of it in advance.
//
// What is set here is a wish: a seed, the traits that are fixed (all others are as the seed draws them) and how far
// people may be from the average. The server answers with the person whom that gave. The nine faces are drawn with the
// same traits, so that a face becomes the head that its picture shows.

import { button, group, make, note, percent, slider } from "./controls.js";

// After the last movement, so long until the server is asked.
const SETTLE_MS = 180;
// Faces are drawn anew when the head has come and nobody moves anything.
const FACES_MS = 600;
const FACES = 9;
// As in ui.py.
const SEED_LIMIT = 1_000_000;
export const VARIETY = 0.8;
export const ANCESTRIES = ["african_ancestry", "asian_ancestry", "european_ancestry"];
/**
 * Traits by group: name -> label and, where they are not 0 to 1 in hundredths, limits. As in core/generation.py, which
 * tests/test_app.py compares.
 */
export const TRAITS = {
  Person: {
    age: { label: "Age", low: 18, high: 85, step: 1, show: (years) => `${Math.round(years)}` },
    gender: { label: "Woman / man" },
    weight: { label: "Thin / heavy" },
  },
  Skin: {
    skin_tone: { label: "Skin tone" },
    freckles: { label: "Freckles" },
    wrinkles: { label: "Wrinkles" },
    redness: { label: "Redness" },
  },
  Hair: {
    beard: { label: "Beard" },
    brows: { label: "Eyebrows" },
    hair_colour: { label: "Hair colour" },
    red_hair: { label: "Red hair" },
    grey_hair: { label: "Grey hair" },
  },
  Eyes: { eye_colour: { label: "Eye colour" }, green_eyes: { label: "Green eyes" } },
  Ancestry: {
    african_ancestry: { label: "African" },
    asian_ancestry: { label: "Asian" },
    european_ancestry: { label: "European" },
  },
  "Make-up": { lipstick: { label: "Lipstick" }, make_up: { label: "Eye make-up" } },
};
const NAMES = Object.values(TRAITS).flatMap(Object.keys);

/** Three shares of 1 after one of them was set: the others keep their proportion, or share alike what they had not. */
export function shared(shares, name, value) {
  const others = ANCESTRIES.filter((other) => other !== name);
  const sum = others.reduce((total, other) => total + shares[other], 0);
  const rest = 1 - value;
  const share = (other) => (sum > 0 ? (shares[other] / sum) * rest : rest / others.length);
  return { [name]: value, ...Object.fromEntries(others.map((other) => [other, share(other)])) };
}

const randomSeeds = () => [...crypto.getRandomValues(new Uint32Array(FACES))].map((number) => number % SEED_LIMIT);
const lookOf = ({ traits, truncation }) => JSON.stringify([NAMES.map((name) => traits[name] ?? null), truncation]);

/**
 * The panel. ask(what, wish): "draw" a head, or "faces" of several seeds. surprise: draw a head with another seed and
 * everything else as it is.
 */
export class PersonPanel {
  #ask;
  #surprise;
  // What was wished last, and how the person came out: set_person of protocol.js.
  #wish = { seed: null, traits: {}, truncation: VARIETY };
  #values = Object.fromEntries(NAMES.map((name) => [name, ANCESTRIES.includes(name) ? 1 / 3 : 0]));
  #colours = {};
  #known = false;
  #timer = null;
  #facesTimer = null;
  // Sets of nine seeds, and which of them is on show; its pictures and texts, and the look that they were drawn with.
  #sets = [];
  #at = -1;
  #faces = null;
  // Of the faces that are being drawn: {seeds, look}.
  #asked = null;
  #visible = false;
  // Titles of the groups that a person has opened or closed.
  #open = new Map();
  #observer = null;
  #refresh = () => {};

  constructor({ ask, surprise }) {
    this.#ask = ask;
    this.#surprise = surprise;
  }

  /** Build the panel into `element`, as things are set now. */
  mount(element) {
    const controls = [this.#seed(), this.#grid(), this.#sliders()];
    element.replaceChildren(
      make("div", { className: "likeness-panel" }, ...controls.map((control) => control.element)),
    );
    this.#refresh = () => controls.forEach((control) => control.refresh());
    this.#refresh();
    // Faces cost the server a second: only for who looks.
    this.#observer?.disconnect();
    this.#observer = new IntersectionObserver((entries) => {
      this.#visible = entries.at(-1).isIntersecting;
      if (this.#visible && this.#known) this.#needFaces();
    });
    this.#observer.observe(element);
  }

  /** Who is on show. A slider that has just been moved stays where it is: its own answer is on its way. */
  setPerson({ seed, values, fixed, truncation, colours }) {
    this.#known = true;
    this.#values = { ...this.#values, ...values };
    this.#colours = colours;
    if (this.#timer === null) {
      const traits = Object.fromEntries(fixed.map((name) => [name, this.#values[name]]));
      this.#wish = { seed, traits, truncation };
    }
    this.#refresh();
    if (this.#visible) this.#facesLater();
  }

  /** Faces that were asked for; empty lists where they could not be drawn. */
  setFaces({ seeds, pictures, texts }) {
    if (this.#asked === null || (seeds.length > 0 && String(seeds) !== String(this.#asked.seeds))) return;
    if (seeds.length > 0) this.#faces = { ...this.#asked, pictures, texts };
    this.#asked = null;
    this.#refresh();
  }

  #set(changes) {
    Object.assign(this.#wish, changes);
    this.#refresh();
    clearTimeout(this.#facesTimer);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#ask("draw", this.#wish);
    }, SETTLE_MS);
  }

  #fix(name, value) {
    const change = ANCESTRIES.includes(name) ? shared(this.#shown(), name, value) : { [name]: value };
    this.#set({ traits: { ...this.#wish.traits, ...change } });
  }

  #free(name) {
    const freed = ANCESTRIES.includes(name) ? ANCESTRIES : [name];
    const traits = Object.entries(this.#wish.traits).filter(([other]) => !freed.includes(other));
    this.#set({ traits: Object.fromEntries(traits) });
  }

  #shown() {
    return { ...this.#values, ...this.#wish.traits };
  }

  #facesLater() {
    clearTimeout(this.#facesTimer);
    this.#facesTimer = setTimeout(() => this.#needFaces(), FACES_MS);
  }

  // The set on show as the sliders stand; a first one where there is none.
  #needFaces() {
    if (this.#at < 0) this.#turn(1);
    else this.#drawFaces();
  }

  #drawFaces() {
    const seeds = this.#sets[this.#at];
    const look = lookOf(this.#wish);
    const same = (faces) => faces !== null && String(faces.seeds) === String(seeds) && faces.look === look;
    if (this.#timer !== null || same(this.#asked) || (this.#asked === null && same(this.#faces))) return;
    this.#asked = { seeds, look };
    const { traits, truncation } = this.#wish;
    this.#ask("faces", { seeds, traits, truncation });
    this.#refresh();
  }

  // To the next set of faces or back to the one before.
  #turn(by) {
    this.#at += by;
    if (this.#at === this.#sets.length) this.#sets.push(randomSeeds());
    this.#drawFaces();
    this.#refresh();
  }

  #seed() {
    const id = "likeness-seed";
    const field = make("input", { type: "number", id, min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, required: true });
    field.addEventListener("change", () => {
      if (field.reportValidity()) this.#set({ seed: Number(field.value) });
    });
    const dice = button("Surprise me", () => this.#surprise(), { className: "dice", id: "likeness-surprise" });
    const element = make("div", { className: "seed" });
    element.append(make("label", { htmlFor: id, textContent: "Seed" }), field, dice);
    return { element, refresh: () => (field.value = this.#wish.seed ?? "") };
  }

  #grid() {
    const radios = [];
    const tiles = Array.from({ length: FACES }, (_, index) => {
      const radio = make("input", { type: "radio", name: "likeness-face" });
      const picture = make("img", { alt: "" });
      radio.addEventListener("change", () => this.#set({ seed: this.#sets[this.#at][index] }));
      radios.push({ radio, picture });
      return make("label", {}, radio, picture);
    });
    const faces = make("fieldset", { className: "faces", id: "likeness-faces" });
    faces.append(make("legend", { textContent: "Choose a face" }), ...tiles);
    const back = button("Earlier faces", () => this.#turn(-1), { id: "likeness-earlier-faces" });
    const more = button("More faces", () => this.#turn(1), { id: "likeness-more-faces" });
    const element = make("div", {}, faces, make("div", { className: "pair" }, back, more));
    const refresh = () => {
      const seeds = this.#sets[this.#at];
      // Of another set the pictures would be of other people; of the same in other traits they are better than none.
      const drawn = this.#faces && String(this.#faces.seeds) === String(seeds) ? this.#faces : null;
      radios.forEach(({ radio, picture }, index) => {
        radio.disabled = drawn === null;
        radio.value = seeds?.[index] ?? "";
        radio.checked = seeds !== undefined && seeds[index] === this.#wish.seed;
        picture.alt = `Face ${index + 1}${drawn ? `: ${drawn.texts[index]}` : ""}`;
        // The picture gives the name only once it is there.
        radio.setAttribute("aria-label", picture.alt);
        picture.title = drawn ? drawn.texts[index] : "";
        if (drawn === null) picture.removeAttribute("src");
        else if (picture.getAttribute("src") !== drawn.pictures[index]) picture.src = drawn.pictures[index];
      });
      faces.setAttribute("aria-busy", String(this.#asked !== null));
      back.disabled = this.#at <= 0;
    };
    return { element, refresh };
  }

  #sliders() {
    const groups = Object.entries(TRAITS).map(([title, traits]) => {
      const controls = Object.entries(traits).map(([name, trait]) => this.#slider(name, trait));
      const set = () => Object.keys(traits).filter((name) => name in this.#wish.traits).length;
      return group({ title, controls, open: this.#open, count: () => (set() ? `${set()} set` : "") });
    });
    const variety = slider({
      ...{ key: "person-variety", label: "Variety", low: 0, high: 1, step: 0.05, rest: VARIETY, show: percent },
      read: () => this.#wish.truncation,
      write: (truncation) => this.#set({ truncation }),
    });
    const reset = button("All as drawn", () => this.#set({ traits: {}, truncation: VARIETY }), {
      id: "likeness-reset-person",
    });
    const hint = note("Grey is what the seed drew. What you set stays set, for other faces too.");
    const controls = [hint, variety, ...groups];
    const sliders = make("div", { className: "traits" }, ...controls.map((control) => control.element), reset);
    const why = make("p", {
      className: "note",
      textContent:
        "The head on show comes from a photo. Age, skin and hair can be set for random heads: choose a face.",
    });
    const refresh = () => {
      controls.forEach((control) => control.refresh());
      const { seed, traits, truncation } = this.#wish;
      sliders.hidden = seed === null;
      why.hidden = seed !== null || !this.#known;
      reset.disabled = Object.keys(traits).length === 0 && truncation === VARIETY;
    };
    return { element: make("div", {}, why, sliders), refresh };
  }

  #slider(name, trait) {
    return slider({
      ...{ key: `person-${name}`, low: 0, high: 1, step: 0.01, show: percent, ...trait },
      rest: trait.low ?? 0,
      read: () => this.#shown()[name],
      write: (value) => this.#fix(name, value),
      free: () => !(name in this.#wish.traits),
      release: () => this.#free(name),
      colours: () => this.#colours[name] ?? "",
    });
  }
}
