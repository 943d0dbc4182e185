// The panels as a visitor uses them, in a DOM without a browser; what they send is checked as the viewer would.

import assert from "node:assert/strict";
import test from "node:test";
import { Window } from "happy-dom";
import { ARKIT_GROUPS, PRESETS } from "../../app/static/expressions.js";
import { PRESETS as LIGHTS } from "../../app/static/lights.js";
import { MAPS } from "../../app/static/maps.js";
import { Panels } from "../../app/static/panels.js";
import { checkMessage, MESSAGES } from "../../app/static/protocol.js";
import { DEFAULT_DETAIL, limitDetail } from "../../app/static/skin.js";
import { DEFAULT_LIGHT, limitLight } from "../../app/static/studio.js";
import { STYLES } from "../../app/static/surfaces.js";

const ARKIT = ARKIT_GROUPS.flatMap((group) => group.names);

/** The panels in a page of their own. `frames(ms)` lets the screen draw for that long. */
function setUp({ stillness = false } = {}) {
  const window = new Window();
  const { document } = window;
  let pending = [];
  let now = 0;
  Object.assign(globalThis, {
    document,
    matchMedia: (query) => ({ matches: /reduced-motion/.test(query) ? stillness : true }),
    requestAnimationFrame: (callback) => pending.push({ callback, id: ++now }) && now,
    cancelAnimationFrame: (id) => (pending = pending.filter((entry) => entry.id !== id)),
  });
  let time = 0;
  const frames = (ms = 17) => {
    for (const end = time + ms; time < end;) {
      time += 17;
      const due = pending;
      pending = [];
      for (const { callback } of due) callback(time);
    }
  };
  const sent = [];
  const panels = new Panels((message) => sent.push(checkMessage(message, "viewer")));
  const mounts = {};
  for (const kind of ["expression", "pose", "detail", "light", "view"]) {
    mounts[kind] = document.body.appendChild(document.createElement("div"));
    panels.mount(kind, mounts[kind]);
  }
  const find = (selector) => document.querySelector(selector);
  const range = (key) => find(`#likeness-${key} input[type=range]`);
  const slide = (key, value) => {
    range(key).value = String(value);
    range(key).dispatchEvent(new window.Event("input", { bubbles: true }));
  };
  const press = (label, root = document) =>
    [...root.querySelectorAll("button")].find((button) => button.textContent === label).click();
  const tick = (selector, checked) => {
    find(selector).checked = checked;
    find(selector).dispatchEvent(new window.Event("change", { bubbles: true }));
  };
  const choose = (selector, file) => {
    Object.defineProperty(find(selector), "files", { value: [file], configurable: true });
    find(selector).dispatchEvent(new window.Event("change", { bubbles: true }));
  };
  const last = (type) => sent.filter((message) => message.type === type).at(-1);
  return { ...{ window, document, panels, mounts, sent, frames, find, range, slide, press, tick, choose, last } };
}

test("nothing is sent before something is moved", () => {
  const page = setUp();
  page.frames(500);
  assert.deepEqual(page.sent, []);
});

test("what is at rest is what the viewer shows by itself", () => {
  const page = setUp();
  page.slide("light_yaw", 10);
  page.frames();
  const { type, ...light } = page.last("set_light");
  assert.equal(type, "set_light");
  assert.deepEqual({ ...light, yaw_deg: 0 }, DEFAULT_LIGHT);
});

test("a linked slider moves both sides, as one message in the next frame", () => {
  const page = setUp();
  for (const value of [0.2, 0.5, 0.6]) page.slide("mouthSmile", value);
  assert.deepEqual(page.sent, []);
  page.frames();
  assert.deepEqual(page.sent, [
    { type: "set_expression", weights: { mouthSmileLeft: 0.6, mouthSmileRight: 0.6 }, own: true },
  ]);
  assert.equal(page.find("#likeness-mouthSmile .number").textContent, "60 %");
  assert.equal(page.range("mouthSmile").getAttribute("aria-valuetext"), "60 %");
});

test("unlinked there are 52 sliders, each for one shape", () => {
  const page = setUp();
  page.tick("#likeness-linked-box", false);
  const sliders = page.mounts.expression.querySelectorAll("details input[type=range]");
  assert.equal(sliders.length, 52);
  page.slide("mouthSmileRight", 0.4);
  page.frames();
  assert.deepEqual(page.last("set_expression").weights, { mouthSmileRight: 0.4 });
  // Linked again, the pair shows what lies between its sides, and moves both from there.
  page.tick("#likeness-linked-box", true);
  assert.equal(page.find("#likeness-mouthSmile .number").textContent, "20 %");
  page.slide("mouthSmile", 0.3);
  page.frames();
  assert.deepEqual(page.last("set_expression").weights, { mouthSmileLeft: 0.3, mouthSmileRight: 0.3 });
});

test("every slider that is moved shows in a message, and comes back to rest by its number, Delete or double-click", () => {
  const page = setUp();
  const keys = [...page.document.querySelectorAll(".slider")].map((slider) => slider.id.replace("likeness-", ""));
  assert.equal(new Set(keys).size, keys.length);
  const ways = [
    (key) => page.find(`#likeness-${key} .number`).click(),
    (key) => page.range(key).dispatchEvent(new page.window.KeyboardEvent("keydown", { key: "Delete" })),
    (key) => page.range(key).dispatchEvent(new page.window.MouseEvent("dblclick")),
  ];
  keys.forEach((key, index) => {
    const rest = page.range(key).value;
    page.slide(key, page.range(key).max);
    page.frames();
    const moved = page.sent.at(-1);
    assert.ok(!page.find(`#likeness-${key} .number`).disabled, key);
    ways[index % 3](key);
    page.frames();
    assert.equal(page.sent.at(-1).type, moved.type, key);
    assert.notDeepEqual(page.sent.at(-1), moved, key);
    assert.equal(page.range(key).value, rest, key);
    assert.ok(page.find(`#likeness-${key} .number`).disabled, key);
  });
});

test("each message that the panels can start is started by one of them", () => {
  const page = setUp();
  page.slide("turn", 10);
  page.slide("gaze_pitch", 10);
  page.slide("key", 2);
  page.slide("jawOpen", 1);
  page.tick("#likeness-idle-box", true);
  page.tick("#likeness-style input[value=clay]", true);
  page.press("Front");
  page.slide("shine", 2);
  page.panels.headLoaded({ morphs: ARKIT, maps: ["normal"], final: true });
  page.tick("#likeness-map input[value=normal]", true);
  page.choose("#likeness-surroundings input", new File(["#?RADIANCE"], "attic.hdr"));
  page.frames();
  const types = Object.keys(MESSAGES).filter(
    (type) => MESSAGES[type].to === "viewer" && /^set_(?!photo|theme)/.test(type),
  );
  assert.deepEqual([...new Set(page.sent.map(({ type }) => type))].sort(), types.sort());
  assert.deepEqual(page.last("set_idle"), { type: "set_idle", on: true });
  assert.deepEqual(page.last("set_style"), { type: "set_style", style: "clay" });
});

test("a preset goes to its expression within 250 ms, leaves the photo's behind, and is shown as pressed", () => {
  const page = setUp();
  page.slide("jawOpen", 0.5);
  page.press("Smile");
  page.frames(120);
  const half = page.last("set_expression");
  assert.equal(half.own, false);
  const full = PRESETS.smile.weights.mouthSmileLeft;
  assert.ok(half.weights.mouthSmileLeft > 0.1 && half.weights.mouthSmileLeft < full, half.weights.mouthSmileLeft);
  page.frames(150);
  assert.deepEqual(page.last("set_expression"), { type: "set_expression", weights: PRESETS.smile.weights, own: false });
  const pressed = [...page.document.querySelectorAll("[data-preset][aria-pressed=true]")];
  assert.deepEqual(
    pressed.map(({ dataset }) => dataset.preset),
    ["smile"],
  );
  assert.equal(page.find("#likeness-own-box").checked, false);
  const count = page.sent.length;
  page.frames(500);
  assert.equal(page.sent.length, count);
});

test("a preset takes no time for those who want no motion", () => {
  const page = setUp({ stillness: true });
  page.press("Laugh");
  page.frames();
  assert.deepEqual(page.last("set_expression").weights, PRESETS.laugh.weights);
});

test("a hand on a slider ends the way to a preset", () => {
  const page = setUp();
  page.press("Smile");
  page.frames(60);
  page.slide("tongueOut", 0.5);
  page.frames(500);
  const { weights } = page.last("set_expression");
  assert.equal(weights.tongueOut, 0.5);
  assert.ok(weights.mouthSmileLeft < PRESETS.smile.weights.mouthSmileLeft);
});

test("reset takes the expression back to the one on the photo", () => {
  const page = setUp({ stillness: true });
  page.press("Anger");
  page.frames();
  page.press("Reset expression");
  page.frames();
  assert.deepEqual(page.last("set_expression"), { type: "set_expression", weights: {}, own: true });
});

test("words move the sliders, and hands stay on top of them", () => {
  const page = setUp({ stillness: true });
  const sent = () => {
    page.frames();
    return page.last("set_expression");
  };
  const shown = (key) => page.find(`#likeness-${key} .number`).textContent;
  const smile = (weight) => ({ mouthSmileLeft: weight, mouthSmileRight: weight });
  page.slide("jawOpen", 0.25);
  page.panels.wordsMoved({ ...smile(0.5), browInnerUp: -0.25 });
  assert.deepEqual(sent().weights, { ...smile(0.5), browInnerUp: -0.25, jawOpen: 0.25 });
  assert.equal(shown("mouthSmile"), "50 %");
  assert.equal(shown("browInnerUp"), "0 %");
  // Nothing was done by hand: there is nothing to reset.
  assert.ok(page.find("#likeness-mouthSmile .number").disabled);
  // A hand takes some of it away, and its number leads back to the words.
  page.slide("mouthSmile", 0.25);
  assert.deepEqual(sent().weights, { ...smile(0.25), browInnerUp: -0.25, jawOpen: 0.25 });
  page.find("#likeness-mouthSmile .number").click();
  assert.deepEqual(sent().weights, { ...smile(0.5), browInnerUp: -0.25, jawOpen: 0.25 });
  // Taken away by hand altogether; a smile that is gone leaves nothing to be taken from the next.
  page.slide("mouthSmile", 0);
  assert.deepEqual(sent().weights, { browInnerUp: -0.25, jawOpen: 0.25 });
  page.panels.wordsMoved({});
  assert.deepEqual(sent().weights, { jawOpen: 0.25 });
  page.panels.wordsMoved(smile(0.75));
  assert.deepEqual(sent().weights, { ...smile(0.75), jawOpen: 0.25 });
});

test("a preset is what it says under any words, and reset leads back to them", () => {
  const page = setUp({ stillness: true });
  const smile = { mouthSmileLeft: 0.5, mouthSmileRight: 0.5 };
  page.panels.wordsMoved(smile);
  page.press("Anger");
  page.frames();
  const anger = page.last("set_expression");
  assert.ok(!anger.own);
  for (const [name, weight] of Object.entries(PRESETS.anger.weights)) {
    assert.ok(Math.abs(anger.weights[name] - weight) < 1e-9, name);
  }
  assert.ok(!anger.weights.mouthSmileLeft);
  // What was chosen stays when other words come.
  page.panels.wordsMoved({});
  page.frames();
  assert.deepEqual(Object.keys(page.last("set_expression").weights).sort(), Object.keys(PRESETS.anger.weights).sort());
  page.panels.wordsMoved(smile);
  page.press("Reset expression");
  page.frames();
  assert.deepEqual(page.last("set_expression"), { type: "set_expression", weights: smile, own: true });
});

test("the jaw is the same in both panels, and goes to one side at a time", () => {
  const page = setUp();
  page.slide("jaw_open", 0.4);
  page.slide("jaw_side", -0.5);
  page.frames();
  assert.deepEqual(page.last("set_expression").weights, { jawOpen: 0.4, jawRight: 0.5 });
  assert.equal(page.range("jawOpen").value, "0.4");
  page.slide("jaw_side", 0.25);
  page.frames();
  assert.deepEqual(page.last("set_expression").weights, { jawOpen: 0.4, jawLeft: 0.25 });
});

test("a tilt to the right of the screen is one to the person's left", () => {
  const page = setUp();
  page.slide("tilt", 20);
  page.slide("turn", 30);
  page.frames();
  assert.deepEqual(page.last("set_pose"), { type: "set_pose", yaw_deg: 30, pitch_deg: 0, roll_deg: -20 });
  page.press("Reset pose");
  page.frames();
  assert.deepEqual(page.last("set_pose"), { type: "set_pose", yaw_deg: 0, pitch_deg: 0, roll_deg: 0 });
});

test("pads: the gaze follows the finger, the light stands where the ball was touched", () => {
  const page = setUp();
  const drag = (selector, x, y) => {
    const pad = page.find(selector);
    pad.getBoundingClientRect = () => ({ left: 100, top: 200, width: 200, height: 200 });
    pad.setPointerCapture = () => {};
    const place = { clientX: 200 + 100 * x, clientY: 300 + 100 * y, pointerId: 1 };
    pad.dispatchEvent(new page.window.PointerEvent("pointerdown", place));
    page.frames();
  };
  drag(".pad.gaze", 1, -0.6);
  assert.deepEqual(page.last("set_gaze"), { type: "set_gaze", yaw_deg: 25, pitch_deg: -15 });
  for (const [preset, { lamps }] of Object.entries(LIGHTS)) {
    const [base] = lamps;
    page.tick(`#likeness-light input[value=${preset}]`, true);
    drag(".pad.ball", 0, 0);
    const light = page.last("set_light");
    // Before the face, at its height.
    assert.deepEqual([light.yaw_deg + base.yaw_deg, light.pitch_deg + base.pitch_deg], [0, 0]);
    drag(".pad.ball", Math.sin(0.5), 0);
    assert.ok(Math.abs(page.last("set_light").yaw_deg + base.yaw_deg - (0.5 * 180) / Math.PI) <= 0.5);
  }
});

test("a light preset is a whole light, but leaves the picture's exposure alone", () => {
  const page = setUp();
  page.slide("light_yaw", 90);
  page.slide("environment", 2);
  page.slide("exposure", 1.5);
  page.tick("#likeness-light input[value=dramatic]", true);
  page.frames();
  assert.deepEqual(page.last("set_light"), {
    ...{ type: "set_light", ...DEFAULT_LIGHT },
    preset: "dramatic",
    exposure: 1.5,
  });
});

test("the viewer has every light, surface and strength that is offered", () => {
  const page = setUp();
  const values = (selector) => [...page.document.querySelectorAll(selector)].map(({ value }) => value);
  assert.deepEqual(values("#likeness-light input"), Object.keys(LIGHTS));
  assert.deepEqual(values("#likeness-style input"), STYLES);
  const tones = page.find("#likeness-tone_mapping select");
  for (const tone of values("#likeness-tone_mapping option")) {
    tones.value = tone;
    tones.dispatchEvent(new page.window.Event("change"));
    for (const end of ["min", "max"]) {
      for (const key of ["key", "environment", "exposure"]) page.slide(key, page.range(key)[end]);
      page.frames();
      assert.deepEqual(limitLight(page.last("set_light")), page.last("set_light"));
    }
  }
});

test("skin at rest is drawn as the viewer draws it by itself, and every strength is one it has", () => {
  const page = setUp();
  page.slide("normal", 1.5);
  page.frames();
  const { type, ...detail } = page.last("set_detail");
  assert.equal(type, "set_detail");
  assert.deepEqual({ ...detail, normal: 1 }, DEFAULT_DETAIL);
  for (const end of ["min", "max"]) {
    for (const key of Object.keys(DEFAULT_DETAIL)) page.slide(key, page.range(key)[end]);
    page.frames();
    assert.deepEqual({ type, ...limitDetail(page.last("set_detail")) }, page.last("set_detail"));
  }
  page.press("Reset skin");
  page.frames();
  assert.deepEqual(page.last("set_detail"), { type, ...DEFAULT_DETAIL });
});

test("only maps that the head has can be looked at, and the others say why not", () => {
  const page = setUp();
  const radios = () => [...page.document.querySelectorAll("#likeness-map input")];
  const open = () =>
    radios()
      .filter(({ disabled }) => !disabled)
      .map(({ value }) => value);
  assert.deepEqual(
    radios().map(({ value }) => value),
    ["", ...Object.keys(MAPS)],
  );
  assert.deepEqual(open(), [""]);
  page.panels.headLoaded({ morphs: ARKIT, maps: ["albedo", "roughness"], final: true });
  assert.deepEqual(open(), ["", "albedo", "roughness"]);
  for (const radio of radios()) assert.equal(radio.disabled, radio.closest("label").title !== "", radio.value);
  const flat = page.find("#likeness-flat");
  assert.ok(flat.disabled && flat.title);
  page.tick("#likeness-map input[value=roughness]", true);
  flat.click();
  page.frames();
  assert.deepEqual(page.last("set_map"), { type: "set_map", map: "roughness", flat: true });
  assert.equal(flat.getAttribute("aria-pressed"), "true");
  // A first head may lack it; a final one without it takes it away.
  page.panels.headLoaded({ morphs: [], maps: [], final: false });
  page.frames();
  assert.equal(page.last("set_map").map, "roughness");
  page.panels.headLoaded({ morphs: ARKIT, maps: ["albedo"], final: true });
  page.frames();
  assert.deepEqual(page.last("set_map"), { type: "set_map", map: "", flat: false });
});

test("a map is closed from the viewer, by a surface, and by Escape before anything else is", () => {
  const page = setUp();
  page.panels.headLoaded({ morphs: ARKIT, maps: Object.keys(MAPS), final: true });
  const open = () => {
    page.tick("#likeness-map input[value=normal]", true);
    page.find("#likeness-flat").click();
    page.frames();
    assert.deepEqual(page.last("set_map"), { type: "set_map", map: "normal", flat: true });
  };
  const now = () => {
    page.frames();
    const { map, flat } = page.last("set_map");
    return [map, flat];
  };
  assert.equal(page.panels.closeMap(), false);
  open();
  page.panels.mapShown({ map: "normal", flat: false });
  assert.deepEqual(now(), ["normal", false]);
  open();
  assert.equal(page.panels.closeMap(), true);
  assert.deepEqual(now(), ["normal", false]);
  open();
  page.tick("#likeness-style input[value=clay]", true);
  assert.deepEqual(now(), ["", false]);
  assert.equal(page.last("set_style").style, "clay");
});

test("a visitor's own surroundings light alone, and are gone with the next light", () => {
  const page = setUp();
  const said = () => page.find("#likeness-surroundings + .note").textContent;
  const file = (name) => page.choose("#likeness-surroundings input", new File(["#?RADIANCE"], name));
  const rest = said();
  file("attic.hdr");
  const asked = page.last("set_surroundings");
  assert.equal(asked.name, "attic.hdr");
  assert.match(asked.url, /^blob:/);
  assert.match(said(), /attic\.hdr/);
  page.panels.surroundingsSet({ name: "attic.hdr", problem: null });
  page.frames();
  assert.equal(page.last("set_light").key, 0);
  // Another that is none: a sentence, and the one before is what a new viewer would show.
  file("notes.hdr");
  page.panels.surroundingsSet({ name: null, problem: "notes.hdr is no .hdr picture." });
  assert.equal(said(), "notes.hdr is no .hdr picture.");
  assert.deepEqual(page.last("set_surroundings"), asked);
  page.tick("#likeness-light input[value=sunset]", true);
  page.frames();
  assert.deepEqual(page.last("set_surroundings"), { type: "set_surroundings", url: null, name: "" });
  assert.deepEqual([page.last("set_light").preset, page.last("set_light").key], ["sunset", 1]);
  assert.equal(said(), rest);
});

test("a camera button is sent each time: a hand may have turned the head in between", () => {
  const page = setUp();
  page.press("¾ left");
  page.press("¾ left");
  page.press("Eyes");
  const views = page.sent.filter(({ type }) => type === "set_view");
  assert.equal(views.length, 3);
  assert.deepEqual(views[0], views[1]);
  assert.equal(views[2].yaw_deg, views[1].yaw_deg);
  assert.ok(views[2].zoom > views[1].zoom);
});

test("a panel that is mounted again shows what is set", () => {
  const page = setUp();
  page.slide("eyeWide", 0.7);
  page.slide("nod", -12);
  page.tick("#likeness-style input[value=uv]", true);
  page.frames();
  const count = page.sent.length;
  for (const [kind, element] of Object.entries(page.mounts)) page.panels.mount(kind, element);
  assert.equal(page.range("eyeWide").value, "0.7");
  assert.equal(page.range("nod").value, "-12");
  assert.ok(page.find("#likeness-style input[value=uv]").checked);
  page.frames();
  assert.equal(page.sent.length, count);
});

test("a head with other shapes gets its own sliders; presets keep to what it has", () => {
  const page = setUp({ stillness: true });
  page.panels.headLoaded({ morphs: ["jawOpen", "mouthSmileLeft", "earWiggle"], maps: [], final: true });
  const keys = [...page.mounts.expression.querySelectorAll("details .slider")].map(({ id }) => id);
  assert.deepEqual(keys, ["likeness-mouthSmileLeft", "likeness-jawOpen", "likeness-earWiggle"]);
  page.press("Smile");
  page.frames();
  assert.deepEqual(Object.keys(page.last("set_expression").weights), ["mouthSmileLeft"]);
  assert.equal(page.find("[data-preset=smile]").getAttribute("aria-pressed"), "true");
  page.panels.headLoaded({ morphs: [], maps: [], final: false });
  assert.ok(page.range("earWiggle"));
  page.panels.headLoaded({ morphs: ARKIT, maps: [], final: true });
  assert.equal(page.range("earWiggle"), null);
});

test("a group says how many of its sliders are moved, and stays open or closed", () => {
  const page = setUp();
  page.slide("jawOpen", 0.3);
  page.slide("jawForward", 0.3);
  const jaw = () => [...page.document.querySelectorAll("details")].find((group) => /^Jaw/.test(group.textContent));
  assert.equal(jaw().querySelector(".count").textContent, "2 moved");
  jaw().open = false;
  jaw().dispatchEvent(new page.window.Event("toggle"));
  page.tick("#likeness-linked-box", false);
  assert.equal(jaw().open, false);
});

test("every control has a name, and every id is given once", () => {
  const page = setUp();
  page.tick("#likeness-linked-box", false);
  const ids = [...page.document.querySelectorAll("[id]")].map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const control of page.document.querySelectorAll("input, select")) {
    const label = control.closest("label") ?? page.find(`label[for="${control.id}"]`);
    assert.ok(label?.textContent.trim(), control.outerHTML);
  }
  for (const button of page.document.querySelectorAll("button, summary")) {
    assert.ok((button.getAttribute("aria-label") ?? button.textContent).trim(), button.outerHTML);
  }
});
