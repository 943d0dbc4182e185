// The field for words as a visitor uses it, in a DOM without a browser; the server is played by the test.

import assert from "node:assert/strict";
import test from "node:test";
import { Window } from "happy-dom";
import { checkMessage } from "../../app/static/protocol.js";
import { IDEAS, SETTINGS, WordsPanel } from "../../app/static/words.js";

const NOTHING = { clauses: [], strengths: [], ...SETTINGS, moved: [], expression: {}, rest: null };
const USUAL = { clauses: [], ...SETTINGS };

/** The panel in a page of its own. `rest` lets so much time pass; `asked` is what the server was asked, and forgets. */
function setUp(context) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const window = new Window();
  const { document } = window;
  Object.assign(globalThis, { document, matchMedia: () => ({ matches: true }) });
  const page = { window, document, expression: null };
  const asked = [];
  page.asked = () => asked.splice(0);
  page.panel = new WordsPanel({
    ask: (wish) => asked.push(structuredClone(wish)),
    moved: (expression) => (page.expression = expression),
  });
  page.find = (selector) => document.querySelector(selector);
  page.mount = () => page.panel.mount(document.body.appendChild(document.createElement("div")));
  page.rest = (ms = 1000) => context.mock.timers.tick(ms);
  page.says = (changes) => {
    const message = { type: "set_words", ...NOTHING, unknown: [], suggestions: [], ...changes };
    page.panel.setWords(checkMessage(message, "page"));
  };
  page.type = (text) => {
    page.find("#likeness-prompt").value = text;
    page.find("form").dispatchEvent(new window.Event("submit", { bubbles: true, cancelable: true }));
  };
  page.slide = (key, value) => {
    const range = page.find(`#likeness-${key} input[type=range]`);
    range.value = String(value);
    range.dispatchEvent(new window.Event("input", { bubbles: true }));
  };
  page.change = (selector, changes) => {
    Object.assign(page.find(selector), changes);
    page.find(selector).dispatchEvent(new window.Event("change", { bubbles: true }));
  };
  page.chips = () =>
    [...document.querySelectorAll(".chip")].map((chip) => [
      chip.querySelector("label").textContent,
      Number(chip.querySelector("input").value),
    ]);
  page.button = (name) => document.querySelector(`button[aria-label="${name}"]`);
  page.text = (selector) => page.find(selector).textContent;
  page.mount();
  return page;
}

test("what was typed is asked for, and its clauses become chips", (context) => {
  const page = setUp(context);
  page.type("older, smiling");
  assert.deepEqual(page.asked(), [{ prompt: "older, smiling", ...USUAL }]);
  // What was typed stays until it was understood.
  assert.equal(page.find("#likeness-prompt").value, "older, smiling");
  assert.deepEqual(page.chips(), []);
  page.says({ clauses: ["older", "smiling"], strengths: [1, 1], rest: "" });
  assert.equal(page.find("#likeness-prompt").value, "");
  page.says({
    ...{ clauses: ["older", "smiling"], strengths: [1, 1], moved: ["age +26 years", "mouth smile +0.6"] },
    expression: { mouthSmileLeft: 0.6 },
  });
  assert.deepEqual(page.chips(), [
    ["older", 1],
    ["smiling", 1],
  ]);
  assert.deepEqual(page.expression, { mouthSmileLeft: 0.6 });
  assert.equal(page.text(".changed"), "Changed: age +26 years, mouth smile +0.6");
  // What comes next joins them.
  page.type("freckles");
  const clauses = [
    ["older", 1],
    ["smiling", 1],
  ];
  assert.deepEqual(page.asked(), [{ prompt: "freckles", ...USUAL, clauses }]);
  // Mounted again it shows the same.
  page.document.body.replaceChildren();
  page.mount();
  assert.equal(page.chips().length, 2);
});

test("nothing typed asks nothing", (context) => {
  const page = setUp(context);
  page.type("   ");
  assert.deepEqual(page.asked(), []);
  assert.equal(page.document.activeElement.id, "likeness-prompt");
});

test("a slider asks once it rests, and an answer does not pull it back", (context) => {
  const page = setUp(context);
  page.says({ clauses: ["older", "smiling"], strengths: [1, 1] });
  for (const strength of [0.8, 0.5, -0.25]) page.slide("word-0", strength);
  assert.deepEqual(page.asked(), []);
  // An answer to something earlier; what it brings that is new is taken, if somebody typed it.
  page.says({ clauses: ["older", "smiling"], strengths: [1, 1] });
  page.says({ clauses: ["older", "smiling", "freckles"], strengths: [1, 1, 1], rest: "" });
  const wanted = [
    ["older", -0.25],
    ["smiling", 1],
    ["freckles", 1],
  ];
  assert.deepEqual(page.chips(), wanted);
  page.rest();
  assert.deepEqual(page.asked(), [{ prompt: null, ...USUAL, clauses: wanted }]);
  // The number leads back to the usual strength.
  assert.equal(page.text("#likeness-word-0 .number"), "\u221225 %");
  page.find("#likeness-word-0 .number").click();
  assert.equal(page.chips()[0][1], 1);
});

test("removing one asks at once, and the focus goes on", (context) => {
  const page = setUp(context);
  page.says({ clauses: ["older", "smiling"], strengths: [1, 0.5] });
  page.button("Remove older").click();
  assert.deepEqual(page.asked(), [{ prompt: null, ...USUAL, clauses: [["smiling", 0.5]] }]);
  assert.equal(page.document.activeElement, page.button("Remove smiling"));
  page.button("Remove smiling").click();
  assert.deepEqual(page.asked(), [{ prompt: null, ...USUAL }]);
  assert.equal(page.document.activeElement.id, "likeness-prompt");
  assert.deepEqual(page.chips(), []);
  page.says({ clauses: ["a", "b"], strengths: [1, 1], moved: ["age +1 years"] });
  page.find("#likeness-clear-words").click();
  assert.deepEqual(page.asked(), [{ prompt: null, ...USUAL }]);
  assert.ok(page.find(".changed").hidden);
});

test("what is not understood is named, stays in the field, and a suggestion takes its place", (context) => {
  const page = setUp(context);
  const unknown = ["I don't know \u201c<b>pikachu</b>\u201d."];
  page.says({ rest: "<b>pikachu</b>", unknown, suggestions: ["cheeky"] });
  assert.equal(page.find("#likeness-prompt").value, "<b>pikachu</b>");
  // As text: whatever is typed is no markup.
  assert.equal(page.text(".unknown p"), unknown[0]);
  assert.equal(page.find(".unknown b"), null);
  // The head that comes says nothing about it.
  page.says({ clauses: ["older"], strengths: [1] });
  assert.equal(page.text(".unknown p"), unknown[0]);
  page.find(".unknown button").click();
  assert.deepEqual(page.asked(), [{ prompt: "cheeky", ...USUAL, clauses: [["older", 1]] }]);
  page.says({ clauses: ["older", "cheeky"], strengths: [1, 1], rest: "" });
  assert.ok(page.find(".unknown").hidden);
});

test("ideas are typed by a press, once each", (context) => {
  const page = setUp(context);
  const ideas = Object.values(IDEAS).flat();
  const buttons = [...page.document.querySelectorAll("[data-idea]")];
  assert.deepEqual(buttons.map((button) => button.textContent).sort(), [...ideas].sort());
  page.find("[data-idea=freckles]").click();
  assert.deepEqual(page.asked(), [{ prompt: "freckles", ...USUAL }]);
  page.says({ clauses: ["freckles"], strengths: [1], rest: "" });
  assert.ok(page.find("[data-idea=freckles]").disabled);
  assert.ok(!page.find("[data-idea=older]").disabled);
});

test("what is to be kept counts for the words that come, and asks where there are some", (context) => {
  const page = setUp(context);
  page.slide("keep-identity", 0.8);
  page.change("#likeness-lock-skin-box", { checked: true });
  page.change("#likeness-method-select", { value: "table" });
  page.change("#likeness-model", { value: " ViT-B-32:here " });
  page.rest();
  assert.deepEqual(page.asked(), []);
  // A head without words says nothing about them.
  page.says({});
  const settings = { keep_identity: 0.8, locks: ["skin"], method: "table", model: "ViT-B-32:here" };
  page.type("older");
  assert.deepEqual(page.asked(), [{ prompt: "older", clauses: [], ...settings }]);
  page.says({ clauses: ["older"], strengths: [1], ...settings, rest: "" });
  page.change("#likeness-lock-skin-box", { checked: false });
  page.change("#likeness-model", { value: "" });
  page.rest();
  const clauses = [["older", 1]];
  const changed = { ...settings, locks: [], model: "bundled" };
  assert.deepEqual(page.asked(), [{ prompt: null, clauses, ...changed }]);
  // Undo brings back how the head was made.
  page.says({ clauses: ["older"], strengths: [0.5], ...SETTINGS });
  assert.equal(page.find("#likeness-keep-identity input").value, "0.5");
  assert.equal(page.find("#likeness-method-select").value, "mixed");
});
