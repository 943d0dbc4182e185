// The panel Person as a visitor uses it, in a DOM without a browser; the server is played by the test.

import assert from "node:assert/strict";
import test from "node:test";
import { Window } from "happy-dom";
import { ANCESTRIES, PersonPanel, shared, TRAITS, VARIETY } from "../../app/static/person.js";
import { checkMessage } from "../../app/static/protocol.js";

const NAMES = Object.values(TRAITS).flatMap(Object.keys);
const VALUES = { ...Object.fromEntries(NAMES.map((name) => [name, 0.25])), age: 40 };
const PERSON = { seed: 7, values: VALUES, fixed: [], truncation: VARIETY, colours: { skin_tone: "#ffeedd, #221100" } };

/** The panel in a page of its own. `rest` lets so much time pass; `asked` is what the server was asked, and forgets. */
function setUp(context) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const window = new Window();
  const { document } = window;
  const page = { window, document, surprises: 0 };
  class Observer {
    constructor(callback) {
      page.look = (isIntersecting) => callback([{ isIntersecting }]);
    }
    observe() {}
    disconnect() {}
  }
  Object.assign(globalThis, { document, IntersectionObserver: Observer, matchMedia: () => ({ matches: true }) });
  const asked = [];
  page.asked = (what) => {
    const found = asked.filter((entry) => what === undefined || entry.what === what).map(({ wish }) => wish);
    asked.length = 0;
    return found;
  };
  const ask = (what, wish) => asked.push({ what, wish: structuredClone(wish) });
  page.panel = new PersonPanel({ ask, surprise: () => (page.surprises += 1) });
  page.mount = () => page.panel.mount(document.body.appendChild(document.createElement("div")));
  page.find = (selector) => document.querySelector(selector);
  page.rest = (ms = 1000) => context.mock.timers.tick(ms);
  page.shows = (changes = {}) =>
    page.panel.setPerson(checkMessage({ type: "set_person", ...PERSON, ...changes }, "page"));
  page.draws = ({ seeds }) => {
    const pictures = seeds.map((seed) => `data:image/jpeg;base64,${seed}`);
    const texts = seeds.map((seed) => `number ${seed}`);
    page.panel.setFaces(checkMessage({ type: "set_faces", seeds, pictures, texts }, "page"));
  };
  page.range = (name) => page.find(`#likeness-person-${name} input`);
  page.number = (name) => page.find(`#likeness-person-${name} .number`);
  page.slide = (name, value) => {
    page.range(name).value = String(value);
    page.range(name).dispatchEvent(new window.Event("input", { bubbles: true }));
  };
  page.faces = () => [...document.querySelectorAll("#likeness-faces label")];
  page.choose = (index) => {
    const radio = page.faces()[index].querySelector("input");
    radio.checked = true;
    radio.dispatchEvent(new window.Event("change", { bubbles: true }));
  };
  page.press = (id) => page.find(`#likeness-${id}`).click();
  page.mount();
  return page;
}

test("sliders show the person on show, and are free until they are moved", (context) => {
  const page = setUp(context);
  page.shows();
  assert.equal(page.find("#likeness-seed").value, "7");
  assert.equal(page.number("age").textContent, "40");
  assert.equal(page.range("beard").value, "0.25");
  assert.ok(NAMES.every((name) => page.number(name).disabled));
  assert.ok(page.find("#likeness-person-skin_tone").classList.contains("coloured"));
  assert.ok(!page.find("#likeness-person-beard").classList.contains("coloured"));
  assert.ok(page.find("#likeness-reset-person").disabled);
  page.rest();
  assert.deepEqual(page.asked(), []);
});

test("a slider that is moved is fixed, asked for once it rests, and freed by its number", (context) => {
  const page = setUp(context);
  page.shows();
  for (const age of [50, 60, 70]) page.slide("age", age);
  assert.deepEqual(page.asked(), []);
  page.rest();
  assert.deepEqual(page.asked(), [{ seed: 7, traits: { age: 70 }, truncation: VARIETY }]);
  page.shows({ values: { ...VALUES, age: 70, beard: 0.5 }, fixed: ["age"] });
  assert.equal(page.number("age").getAttribute("aria-label"), "Reset Age, now 70");
  assert.equal(page.number("beard").textContent, "50 %");
  page.slide("beard", 1);
  page.rest();
  assert.deepEqual(page.asked(), [{ seed: 7, traits: { age: 70, beard: 1 }, truncation: VARIETY }]);
  page.number("age").click();
  page.rest();
  assert.deepEqual(page.asked(), [{ seed: 7, traits: { beard: 1 }, truncation: VARIETY }]);
  page.slide("variety", 0.3);
  page.press("reset-person");
  page.rest();
  assert.deepEqual(page.asked(), [{ seed: 7, traits: {}, truncation: VARIETY }]);
});

test("an answer does not move the slider under the hand", (context) => {
  const page = setUp(context);
  page.shows();
  page.slide("age", 60);
  page.rest();
  page.slide("age", 70);
  page.shows({ values: { ...VALUES, age: 60 }, fixed: ["age"] });
  assert.equal(page.number("age").textContent, "70");
  page.rest();
  assert.deepEqual(page.asked().at(-1).traits, { age: 70 });
  // Undo, or a wish that failed: the sliders go where the head is.
  page.shows();
  assert.equal(page.number("age").textContent, "40");
  assert.ok(page.number("age").disabled);
});

test("shares of ancestry are shares of one, and are freed together", (context) => {
  const page = setUp(context);
  const [first, second, third] = ANCESTRIES;
  page.shows({ values: { ...VALUES, [first]: 0.5, [second]: 0.375, [third]: 0.125 } });
  page.slide(first, 0.2);
  page.rest();
  const [{ traits }] = page.asked();
  assert.ok(Math.abs(traits[second] - 0.6) < 1e-9 && Math.abs(traits[third] - 0.2) < 1e-9, JSON.stringify(traits));
  page.number(third).click();
  page.rest();
  assert.deepEqual(page.asked()[0].traits, {});
  // Nobody has a share of nothing.
  const all = shared({ [first]: 1, [second]: 0, [third]: 0 }, first, 0.4);
  assert.deepEqual(all, { [first]: 0.4, [second]: 0.3, [third]: 0.3 });
  assert.deepEqual(shared(all, second, 1), { [first]: 0, [second]: 1, [third]: 0 });
});

test("a seed can be typed, if it is one, and chance asked for another", (context) => {
  const page = setUp(context);
  page.shows();
  const type = (text) => {
    page.find("#likeness-seed").value = text;
    page.find("#likeness-seed").dispatchEvent(new page.window.Event("change"));
    page.rest();
  };
  type("42");
  assert.deepEqual(page.asked(), [{ seed: 42, traits: {}, truncation: VARIETY }]);
  for (const text of ["-1", "1.5", ""]) type(text);
  assert.deepEqual(page.asked(), []);
  page.press("surprise");
  assert.equal(page.surprises, 1);
});

test("faces are drawn for who looks, and one that is chosen becomes the head", (context) => {
  const page = setUp(context);
  page.shows();
  page.rest();
  assert.deepEqual(page.asked(), []);
  page.look(true);
  const [first] = page.asked("faces");
  assert.equal(new Set(first.seeds).size, 9);
  assert.deepEqual({ ...first, seeds: [] }, { seeds: [], traits: {}, truncation: VARIETY });
  assert.equal(page.find("#likeness-faces").getAttribute("aria-busy"), "true");
  assert.ok(page.faces().every((face) => face.querySelector("input").disabled));
  page.draws(first);
  assert.equal(page.find("#likeness-faces").getAttribute("aria-busy"), "false");
  assert.deepEqual(
    page.faces().map((face) => face.querySelector("img").alt),
    first.seeds.map((seed, index) => `Face ${index + 1}: number ${seed}`),
  );
  // They are there already.
  page.look(false);
  page.look(true);
  assert.deepEqual(page.asked(), []);
  page.choose(4);
  page.rest();
  assert.deepEqual(page.asked("draw"), [{ seed: first.seeds[4], traits: {}, truncation: VARIETY }]);
  page.shows({ seed: first.seeds[4] });
  page.rest();
  assert.ok(page.faces()[4].querySelector("input").checked);
  assert.deepEqual(page.asked(), []);
});

test("more faces are others, and the earlier ones come back", (context) => {
  const page = setUp(context);
  page.shows();
  page.look(true);
  const [first] = page.asked();
  page.draws(first);
  assert.ok(page.find("#likeness-earlier-faces").disabled);
  page.press("more-faces");
  const [second] = page.asked();
  assert.notDeepEqual(second.seeds, first.seeds);
  // Those of other people are not shown for them.
  assert.ok(page.faces().every((face) => !face.querySelector("img").hasAttribute("src")));
  // Faces that were not asked for last are too late.
  page.draws(first);
  assert.ok(page.faces().every((face) => !face.querySelector("img").hasAttribute("src")));
  page.draws(second);
  page.press("earlier-faces");
  assert.deepEqual(page.asked()[0].seeds, first.seeds);
});

test("faces follow what is set, once the head is there and nobody moves anything", (context) => {
  const page = setUp(context);
  page.shows();
  page.look(true);
  const [first] = page.asked();
  page.draws(first);
  page.slide("age", 80);
  page.rest();
  assert.equal(page.asked("faces").length, 0);
  page.shows({ values: { ...VALUES, age: 80 }, fixed: ["age"] });
  page.slide("beard", 1);
  page.rest();
  assert.equal(page.asked("faces").length, 0);
  page.shows({ values: { ...VALUES, age: 80, beard: 1 }, fixed: ["age", "beard"] });
  page.rest();
  assert.deepEqual(page.asked(), [{ ...first, traits: { age: 80, beard: 1 } }]);
  // Meanwhile the old pictures are better than none.
  assert.ok(page.faces().every((face) => face.querySelector("img").hasAttribute("src")));
  // Could not be drawn: nothing waits any more, and it can be tried again.
  page.panel.setFaces({ seeds: [], pictures: [], texts: [] });
  assert.equal(page.find("#likeness-faces").getAttribute("aria-busy"), "false");
  page.look(true);
  assert.equal(page.asked("faces").length, 1);
});

test("the head of a photo has no traits to set, but a face to go on with", (context) => {
  const page = setUp(context);
  page.shows({ seed: null, values: {}, colours: {} });
  assert.ok(page.find(".traits").hidden);
  assert.ok(!page.find(".likeness-panel .note").hidden);
  assert.equal(page.find("#likeness-seed").value, "");
  page.look(true);
  page.draws(page.asked()[0]);
  page.choose(0);
  page.rest();
  assert.equal(page.asked("draw").length, 1);
  page.shows();
  assert.ok(!page.find(".traits").hidden);
});

test("a panel that is mounted again shows the same", (context) => {
  const page = setUp(context);
  page.shows({ values: { ...VALUES, age: 70 }, fixed: ["age"] });
  page.look(true);
  page.draws(page.asked()[0]);
  page.document.body.replaceChildren();
  page.mount();
  assert.equal(page.number("age").textContent, "70");
  assert.ok(page.faces().every((face) => face.querySelector("img").hasAttribute("src")));
});
