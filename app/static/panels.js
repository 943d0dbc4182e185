// The panels beside the viewer: Expression, Pose, Detail, Relight and View. They act in the browser alone, within a frame.
//
// What is set lives in `Panels` and not in the page's elements: a panel that is mounted again shows the same.

import {
  button,
  checkbox,
  choice,
  clamp,
  fileChoice,
  group,
  heading,
  make,
  note,
  pad,
  percent,
  slider,
  still,
} from "./controls.js";
import { ARKIT_GROUPS, PRESETS, sliderGroups } from "./expressions.js";
import { litBall, PRESETS as LIGHT_PRESETS } from "./lights.js";
import { MAPS } from "./maps.js";

const PRESET_MS = 220;
const GAZE_LIMIT_DEG = 25;
const LIGHT_PITCH_DEG = 60;
const NEUTRAL_LIGHT = { light_yaw: 0, light_pitch: 0, key: 1, environment: 1, environment_yaw: 0 };
const NEUTRAL_DETAIL = { normal: 1, wrinkles: 1, scattering: 1, shine: 1 };
const REST = {
  own: true,
  linked: true,
  idle: false,
  turn: 0,
  nod: 0,
  tilt: 0,
  gaze_yaw: 0,
  gaze_pitch: 0,
  light: "studio",
  ...NEUTRAL_LIGHT,
  exposure: 1,
  tone_mapping: "neutral",
  style: "textured",
  ...NEUTRAL_DETAIL,
  map: "",
  flat: false,
  view_yaw: 0,
  view_pitch: 0,
  zoom: 1,
};

const STYLES = { textured: "Textured", clay: "Clay", wireframe: "Wireframe", normals: "Normals", uv: "UV checker" };
const BALL_PX = 96;
const LIGHTS = Object.fromEntries(Object.entries(LIGHT_PRESETS).map(([name, { label }]) => [name, label]));
const TONE_MAPPINGS = { neutral: "Neutral", filmic: "Filmic", none: "None" };
// Where they take the camera; sides are the person's own. In the order of the screen: the camera that moves to the left
// shows more of the person's right.
const VIEWS = [
  ["¾ right", -40, 0],
  ["Front", 0, 0],
  ["¾ left", 40, 0],
  ["Right side", -90, 0],
  ["Above", 0, 35],
  ["Left side", 90, 0],
];
const ZOOMS = { Head: 1, Face: 1.7, Eyes: 3.4 };

const degrees = (value) => `${Math.round(value)}°`;
const times = (value) => `${value.toFixed(2)} ×`;

const keyOf = (light) => LIGHT_PRESETS[light].lamps[0];

function ballOf(light) {
  const canvas = make("canvas", { width: BALL_PX, height: BALL_PX, "aria-hidden": "true" });
  const picture = canvas.getContext("2d");
  picture?.putImageData(new ImageData(litBall(LIGHT_PRESETS[light], BALL_PX), BALL_PX), 0, 0);
  return canvas;
}

/** The five panels and what is set in them. `send` takes messages of protocol.js for the viewer. */
export class Panels {
  #send;
  #values = { ...REST };
  // What hands have moved: name -> weight; names at rest are absent. Below 0 it takes away what words have moved.
  #weights = {};
  // What words have moved, likewise; see set_words in app/protocol.py.
  #words = {};
  #offered = ARKIT_GROUPS.flatMap((group) => group.names);
  // The maps that the head on show has; null: no head is there yet.
  #maps = null;
  // The visitor's own surroundings: their address in this browser, the file's name, and what is wrong with the last one.
  #own = { url: null, name: "" };
  #asked = null;
  #problem = "";
  // kind -> { element, refresh }
  #mounted = new Map();
  // Titles of the groups that a person has opened or closed: title -> open.
  #open = new Map();
  // type -> JSON of what was sent last
  #sent = new Map();
  #frame = null;
  #animation = null;

  constructor(send) {
    this.#send = send;
    // What the viewer shows before it is told anything.
    for (const message of this.#messages()) this.#sent.set(message.type, JSON.stringify(message));
  }

  /** Build the panel `kind` ("expression", "pose", "detail", "light" or "view") into `element`, as things are set now. */
  mount(kind, element) {
    const builders = {
      expression: this.#expression,
      pose: this.#pose,
      detail: this.#detail,
      light: this.#light,
      view: this.#view,
    };
    const controls = builders[kind].call(this);
    element.replaceChildren(
      make("div", { className: "likeness-panel" }, ...controls.map((control) => control.element)),
    );
    const refresh = () => controls.forEach((control) => control.refresh());
    this.#mounted.set(kind, { element, refresh });
    refresh();
  }

  /** A head with these morphs and maps is on show: offer its sliders and what can be looked at. */
  headLoaded({ morphs, maps, final }) {
    this.#maps = maps;
    // A first head is followed by one that may have it again.
    if (final && this.#values.map !== "" && !maps.includes(this.#values.map)) this.#set({ map: "", flat: false });
    else this.#changed();
    // A first head without morphs is no reason to take the sliders away while somebody moves them.
    if (morphs.length === 0 || String(morphs) === String(this.#offered)) return;
    this.#offered = morphs;
    this.#rebuildExpression();
  }

  /** The viewer shows this map now (map_shown). */
  mapShown({ map, flat }) {
    this.#set({ map, flat });
  }

  /** Take away a map that lies flat; whether there was one. */
  closeMap() {
    const { flat } = this.#values;
    if (flat) this.#set({ flat: false });
    return flat;
  }

  /** What has become of the visitor's own surroundings (surroundings_set). */
  surroundingsSet({ name, problem }) {
    this.#problem = problem ?? "";
    if (problem !== null) {
      if (this.#asked) URL.revokeObjectURL(this.#asked.url);
      this.#asked = null;
      // What a viewer that starts again shall show.
      this.#send({ type: "set_surroundings", ...this.#own });
    } else if (name !== null && this.#asked) {
      const first = this.#own.url === null;
      if (!first) URL.revokeObjectURL(this.#own.url);
      this.#own = this.#asked;
      this.#asked = null;
      // They light the head by themselves; the key light can be added.
      if (first) this.#set({ key: 0, environment_yaw: 0 });
    }
    this.#changed();
  }

  #takeSurroundings(file) {
    this.#problem = "";
    this.#asked = { url: URL.createObjectURL(file), name: file.name };
    this.#send({ type: "set_surroundings", ...this.#asked });
    this.#changed();
  }

  #dropSurroundings() {
    this.#problem = "";
    this.#asked = null;
    if (this.#own.url === null) return;
    URL.revokeObjectURL(this.#own.url);
    this.#own = { url: null, name: "" };
    this.#send({ type: "set_surroundings", ...this.#own });
  }

  /** Words have moved the expression so far: sliders show it, and what hands have moved stays on top. */
  wordsMoved(expression) {
    this.#words = { ...expression };
    for (const [name, weight] of Object.entries(this.#weights)) {
      // What a hand has taken away of an older smile is nothing to take from a new one.
      this.#put(name, clamp(weight, -this.#worded(name), 1 - this.#worded(name)));
    }
    this.#changed();
  }

  #set(changes) {
    Object.assign(this.#values, changes);
    this.#changed();
  }

  // Where words have put a slider. What they take away is taken from the head's own expression, which is on no slider.
  #worded(name) {
    return clamp(this.#words[name] ?? 0, 0, 1);
  }

  // Where a slider stands.
  #weight(name) {
    return clamp(this.#worded(name) + (this.#weights[name] ?? 0), 0, 1);
  }

  #put(name, weight) {
    if (Math.abs(weight) > 1e-6) this.#weights[name] = weight;
    else delete this.#weights[name];
  }

  // Put sliders where they shall stand.
  #setWeights(changes) {
    cancelAnimationFrame(this.#animation);
    for (const [name, weight] of Object.entries(changes)) this.#put(name, weight - this.#worded(name));
    this.#changed();
  }

  // Words and hands together, as the viewer takes them.
  #expressionWeights() {
    const names = new Set([...Object.keys(this.#words), ...Object.keys(this.#weights)]);
    const words = this.#values.own ? (name) => this.#words[name] ?? 0 : (name) => this.#worded(name);
    const entries = [...names].map((name) => [name, words(name) + (this.#weights[name] ?? 0)]);
    return Object.fromEntries(entries.filter(([, weight]) => weight !== 0));
  }

  #changed() {
    for (const { refresh } of this.#mounted.values()) refresh();
    // Sliders fire faster than the screen draws.
    if (this.#frame !== null) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = null;
      for (const message of this.#messages()) {
        const text = JSON.stringify(message);
        if (this.#sent.get(message.type) === text) continue;
        this.#sent.set(message.type, text);
        this.#send(message);
      }
    });
  }

  #messages() {
    const is = this.#values;
    return [
      { type: "set_expression", weights: this.#expressionWeights(), own: is.own },
      // On the screen a slider that goes to the right tips the head to the right, which is its own left.
      { type: "set_pose", yaw_deg: is.turn, pitch_deg: is.nod, roll_deg: -is.tilt || 0 },
      { type: "set_gaze", yaw_deg: is.gaze_yaw, pitch_deg: is.gaze_pitch },
      {
        type: "set_light",
        preset: is.light,
        yaw_deg: is.light_yaw,
        pitch_deg: is.light_pitch,
        key: is.key,
        environment: is.environment,
        environment_yaw_deg: is.environment_yaw,
        exposure: is.exposure,
        tone_mapping: is.tone_mapping,
      },
      { type: "set_style", style: is.style },
      {
        type: "set_detail",
        ...{ normal: is.normal, wrinkles: is.wrinkles, scattering: is.scattering, shine: is.shine },
      },
      { type: "set_map", map: is.map, flat: is.flat },
      { type: "set_idle", on: is.idle },
    ];
  }

  // Sent even if it was sent before: a hand may have turned the head in the meantime.
  #look(changes) {
    this.#set(changes);
    const { view_yaw, view_pitch, zoom } = this.#values;
    this.#send({ type: "set_view", yaw_deg: view_yaw, pitch_deg: view_pitch, zoom });
  }

  // A preset is a complete expression: that of the photo would come on top of it.
  #showPreset(target, own) {
    cancelAnimationFrame(this.#animation);
    this.#set({ own });
    const names = new Set([...Object.keys(this.#weights), ...Object.keys(this.#words), ...Object.keys(target)]);
    const start = Object.fromEntries([...names].map((name) => [name, this.#weight(name)]));
    const mix = (share) =>
      Object.fromEntries(
        [...names].map((name) => [name, (1 - share) * (start[name] ?? 0) + share * (target[name] ?? 0)]),
      );
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.#setWeights(mix(1));
      return;
    }
    let begin = null;
    const step = (now) => {
      begin ??= now;
      const time = Math.min((now - begin) / PRESET_MS, 1);
      this.#setWeights(mix(time * time * (3 - 2 * time)));
      if (time < 1) this.#animation = requestAnimationFrame(step);
    };
    this.#animation = requestAnimationFrame(step);
  }

  #slider(key, label, limits, show, step = 1) {
    const [low, high] = limits;
    const rest = REST[key];
    return slider({
      ...{ key, label, low, high, step, rest, show },
      read: () => this.#values[key],
      write: (value) => this.#set({ [key]: value }),
    });
  }

  #choice(key, legend, options, write = (value) => this.#set({ [key]: value }), more = {}) {
    return choice({ key, legend, options, read: () => this.#values[key], write, ...more });
  }

  // Where sliders stand without hands.
  #rest() {
    return Object.fromEntries(Object.keys(this.#words).map((name) => [name, this.#worded(name)]));
  }

  #rebuildExpression() {
    const panel = this.#mounted.get("expression");
    if (panel) this.mount("expression", panel.element);
  }

  #expression() {
    const chips = Object.entries(PRESETS).map(([name, { label, weights }]) => {
      const offered = Object.fromEntries(Object.entries(weights).filter(([name]) => this.#offered.includes(name)));
      const element = button(label, () => this.#showPreset(offered, false), { "data-preset": name });
      const refresh = () => {
        const moved = [...Object.keys(this.#weights), ...Object.keys(this.#words)];
        const same = [...Object.keys(offered), ...moved].every(
          (name) => Math.abs((offered[name] ?? 0) - this.#weight(name)) < 0.005,
        );
        element.setAttribute("aria-pressed", String(same && !this.#values.own));
      };
      return { element, refresh };
    });
    const presets = {
      element: make(
        "div",
        { className: "chips", role: "group", "aria-label": "Expressions" },
        ...chips.map((chip) => chip.element),
      ),
      refresh: () => chips.forEach((chip) => chip.refresh()),
    };
    const own = checkbox({
      key: "own",
      label: "Start from the expression on the photo",
      read: () => this.#values.own,
      write: (own) => this.#set({ own }),
    });
    const idle = checkbox({
      key: "idle",
      label: "Alive: blinks and breathes",
      read: () => this.#values.idle,
      write: (idle) => this.#set({ idle }),
    });
    const linked = checkbox({
      key: "linked",
      label: "Left and right together",
      hint: "Sides are the person's own.",
      read: () => this.#values.linked,
      write: (linked) => {
        this.#set({ linked });
        this.#rebuildExpression();
        document.getElementById("likeness-linked-box")?.focus();
      },
    });
    const groups = sliderGroups(this.#offered, this.#values.linked).map((group) => this.#group(group));
    const reset = still(
      button("Reset expression", () => this.#showPreset(this.#rest(), true), { id: "likeness-reset-expression" }),
    );
    return [presets, own, idle, linked, ...groups, reset];
  }

  #group({ title, sliders }) {
    const controls = sliders.map(({ key, label, names }) =>
      slider({
        ...{ key, label, low: 0, high: 1, step: 0.01, show: percent },
        read: () => names.reduce((sum, name) => sum + this.#weight(name), 0) / names.length,
        write: (value) => this.#setWeights(Object.fromEntries(names.map((name) => [name, value]))),
        // Words have put it there: its number leads back to them.
        free: () => names.every((name) => !this.#weights[name]),
        release: () => this.#setWeights(Object.fromEntries(names.map((name) => [name, this.#worded(name)]))),
      }),
    );
    const moved = () => sliders.filter(({ names }) => names.some((name) => this.#weight(name))).length;
    return group({ title, controls, open: this.#open, count: () => (moved() ? `${moved()} moved` : "") });
  }

  #pose() {
    const gaze = pad({
      className: "gaze",
      read: () => [this.#values.gaze_yaw / GAZE_LIMIT_DEG, this.#values.gaze_pitch / GAZE_LIMIT_DEG],
      write: (x, y) =>
        this.#set({ gaze_yaw: Math.round(x * GAZE_LIMIT_DEG), gaze_pitch: Math.round(y * GAZE_LIMIT_DEG) }),
      reset: () => this.#set({ gaze_yaw: 0, gaze_pitch: 0 }),
    });
    const weight = (name) => this.#weight(name);
    const jaw = { low: 0, high: 1, step: 0.01, show: percent };
    return [
      heading("Head"),
      this.#slider("turn", "Turn", [-45, 45], degrees),
      this.#slider("nod", "Nod", [-25, 25], degrees),
      this.#slider("tilt", "Tilt", [-25, 25], degrees),
      heading("Gaze"),
      gaze,
      this.#slider("gaze_yaw", "Sideways", [-GAZE_LIMIT_DEG, GAZE_LIMIT_DEG], degrees),
      this.#slider("gaze_pitch", "Up / down", [-GAZE_LIMIT_DEG, GAZE_LIMIT_DEG], degrees),
      heading("Jaw"),
      slider({
        ...{ ...jaw, key: "jaw_open", label: "Open" },
        read: () => weight("jawOpen"),
        write: (value) => this.#setWeights({ jawOpen: value }),
      }),
      slider({
        ...{ ...jaw, key: "jaw_side", label: "Sideways", low: -1 },
        read: () => weight("jawLeft") - weight("jawRight"),
        write: (value) => this.#setWeights({ jawLeft: Math.max(value, 0), jawRight: Math.max(-value, 0) }),
      }),
      still(
        button("Reset pose", () => {
          const { turn, nod, tilt, gaze_yaw, gaze_pitch } = REST;
          this.#set({ turn, nod, tilt, gaze_yaw, gaze_pitch });
          const jaw = ["jawOpen", "jawLeft", "jawRight"];
          this.#setWeights(Object.fromEntries(jaw.map((name) => [name, this.#worded(name)])));
        }),
      ),
    ];
  }

  #detail() {
    const percents = (key, label) => this.#slider(key, label, [0, 2], percent, 0.01);
    const missing = (map) => {
      if (map === "" || this.#maps?.includes(map)) return "";
      return this.#maps ? `This head has no map of this: ${MAPS[map].toLowerCase()}.` : "No head is on show yet.";
    };
    const flat = button("UV view", () => this.#set({ flat: !this.#values.flat }), { id: "likeness-flat" });
    const flatten = {
      element: flat,
      refresh: () => {
        flat.disabled = this.#values.map === "";
        flat.title = flat.disabled ? "Choose a map first" : "";
        flat.setAttribute("aria-pressed", String(this.#values.flat));
      },
    };
    const lacks = make("p", { className: "note" });
    const explained = {
      element: lacks,
      refresh: () => {
        lacks.hidden = !this.#maps || Object.keys(MAPS).every((map) => this.#maps.includes(map));
        lacks.textContent = "Greyed maps are not made yet: those of reflections and relief come after the colours.";
      },
    };
    return [
      heading("Skin"),
      percents("normal", "Detail strength"),
      percents("wrinkles", "Wrinkles"),
      percents("scattering", "Scattering"),
      percents("shine", "Shine"),
      note("Wrinkles come with the expression: raise the brows. Scattering is the light that spreads below the skin."),
      still(button("Reset skin", () => this.#set(NEUTRAL_DETAIL))),
      this.#choice("map", "Look at a map", { "": "None", ...MAPS }, (map) => this.#showMap(map), { missing }),
      flatten,
      explained,
    ];
  }

  #showMap(map) {
    this.#set({ map, flat: map !== "" && this.#values.flat });
  }

  #light() {
    const radian = Math.PI / 180;
    const ball = pad({
      className: "ball",
      read: () => {
        const base = keyOf(this.#values.light);
        const yaw = (base.yaw_deg + this.#values.light_yaw) * radian;
        const pitch = clamp(base.pitch_deg + this.#values.light_pitch, -85, 85) * radian;
        return [Math.sin(yaw) * Math.cos(pitch), -Math.sin(pitch), Math.cos(yaw) < 0];
      },
      // From the point under the finger, on the half of the ball that is seen.
      write: (x, y) => {
        const base = keyOf(this.#values.light);
        const shrink = 1 / Math.max(1, Math.hypot(x, y));
        const pitch = Math.asin(-y * shrink);
        const yaw = Math.asin(clamp((x * shrink) / Math.max(Math.cos(pitch), 0.01), -1, 1));
        this.#set({
          light_yaw: Math.round(yaw / radian - base.yaw_deg),
          light_pitch: clamp(Math.round(pitch / radian - base.pitch_deg), -LIGHT_PITCH_DEG, LIGHT_PITCH_DEG),
        });
      },
      reset: () => this.#set({ light_yaw: 0, light_pitch: 0 }),
    });
    const tones = make("select", { id: "likeness-tone_mapping-select" });
    for (const [value, label] of Object.entries(TONE_MAPPINGS))
      tones.append(make("option", { value, textContent: label }));
    tones.addEventListener("change", () => this.#set({ tone_mapping: tones.value }));
    const tone = {
      element: make("div", { className: "row", id: "likeness-tone_mapping" }),
      refresh: () => (tones.value = this.#values.tone_mapping),
    };
    tone.element.append(make("label", { htmlFor: tones.id, textContent: "Tone mapping" }), tones);
    const relight = (changes) => {
      this.#dropSurroundings();
      this.#set({ ...NEUTRAL_LIGHT, ...changes });
    };
    const own = fileChoice({
      ...{ key: "surroundings", label: "Your own .hdr file", accept: ".hdr,image/vnd.radiance" },
      take: (file) => this.#takeSurroundings(file),
    });
    const said = make("p", { className: "note", role: "status" });
    const told = {
      element: said,
      refresh: () => {
        const { name } = this.#own;
        said.classList.toggle("wrong", this.#problem !== "");
        said.textContent =
          this.#problem ||
          (this.#asked && `Reading ${this.#asked.name} …`) ||
          (name && `${name} lights the head. Choose a light above to go back.`) ||
          "It is read in this browser and sent nowhere.";
      },
    };
    return [
      this.#choice("light", "Light", LIGHTS, (light) => relight({ light }), { picture: ballOf }),
      heading("Main light"),
      ball,
      this.#slider("light_yaw", "Around", [-180, 180], degrees),
      this.#slider("light_pitch", "Height", [-LIGHT_PITCH_DEG, LIGHT_PITCH_DEG], degrees),
      this.#slider("key", "Strength", [0, 3], times, 0.01),
      heading("Surroundings"),
      this.#slider("environment", "Strength", [0, 3], times, 0.01),
      this.#slider("environment_yaw", "Turn", [-180, 180], degrees),
      own,
      told,
      heading("Picture"),
      this.#slider("exposure", "Exposure", [0.25, 2.5], times, 0.01),
      tone,
      still(
        button("Reset light", () => {
          const { light, exposure, tone_mapping } = REST;
          relight({ light, exposure, tone_mapping });
        }),
      ),
    ];
  }

  #view() {
    const grid = (label, buttons) =>
      still(make("div", { className: "grid", role: "group", "aria-label": label }, ...buttons));
    return [
      // A map would cover it.
      this.#choice("style", "Surface", STYLES, (style) => this.#set({ style, map: "", flat: false })),
      heading("Camera"),
      grid(
        "Camera",
        VIEWS.map(([label, view_yaw, view_pitch]) => button(label, () => this.#look({ view_yaw, view_pitch }))),
      ),
      heading("Distance"),
      grid(
        "Distance",
        Object.entries(ZOOMS).map(([label, zoom]) => button(label, () => this.#look({ zoom }))),
      ),
      note("Drag the head to turn it, scroll or pinch to come closer. Sides are the person's own."),
    ];
  }
}
