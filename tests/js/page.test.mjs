// page.js in a DOM without a browser: what it keeps for the viewer, the theme, photos from anywhere, a lost server.

import assert from "node:assert/strict";
import test from "node:test";
import { Window } from "happy-dom";
import { checkMessage, PROTOCOL_VERSION } from "../../app/static/protocol.js";

const ADDRESS = "http://likeness.test/app/";
const BODY = `
  <button id="likeness-theme">Dark theme</button>
  <div id="likeness-photo"><button aria-label="Remove Image"></button></div>
  <div id="likeness-examples"><button data-src="gradio_api/file=/static/a%20head.jpg"><img alt="" /></button></div>
  <button id="likeness-save"></button><button id="likeness-undo"></button><button id="likeness-redo"></button>
  <input id="text" type="text" /><input id="slider" type="range" />
  <div id="likeness-status"></div>
  <iframe id="likeness-viewer"></iframe>`;
const HEAD = {
  type: "load_head",
  url: "gradio_api/file=/x/a.glb",
  file_name: "a.glb",
  final: true,
  original: true,
  expression: {},
};
const absolute = (message) => ({ ...message, url: new URL(message.url, ADDRESS).href });
const settle = async () => {
  // The clock that tests turn has no immediates.
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};
let imports = 0;

/** page.js, started in a page of its own. The viewer's window is a stand-in that keeps what it is sent. */
async function setUp(context, { dark = false, remembered = null } = {}) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const window = new Window({ url: ADDRESS });
  const { document } = window;
  document.body.innerHTML = BODY;
  const page = { window, document, sent: [], server: "first", requests: [], answers: {}, systemDark: dark };
  page.find = (selector) => document.querySelector(selector);
  const system = new window.EventTarget();
  Object.defineProperty(system, "matches", { get: () => page.systemDark });
  window.matchMedia = (query) => (/color-scheme/.test(query) ? system : { matches: false });
  page.switchSystem = (value) => {
    page.systemDark = value;
    system.dispatchEvent(new window.Event("change"));
  };
  if (remembered) window.localStorage.setItem("likeness-theme", remembered);
  window.fetch = async (resource, options) => {
    const { pathname } = new URL(resource, ADDRESS);
    page.requests.push(pathname);
    if (page.server === null) throw new TypeError("Failed to fetch");
    if (pathname === "/app/likeness/alive") return new Response(JSON.stringify({ server: page.server }));
    return page.answers[pathname]?.(options) ?? new Response(null, { status: 404 });
  };
  const { localStorage, matchMedia, MutationObserver, Event, CustomEvent, File, DataTransfer } = window;
  const globals = {
    window,
    document,
    localStorage,
    matchMedia,
    MutationObserver,
    Event,
    CustomEvent,
    File,
    DataTransfer,
  };
  globals.IntersectionObserver = class {
    observe() {}
    disconnect() {}
  };
  globals.requestAnimationFrame = () => 0;
  globals.cancelAnimationFrame = () => {};
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, "navigator", { value: { onLine: true }, configurable: true });

  const viewer = new window.EventTarget();
  viewer.postMessage = (message, origin) => {
    assert.equal(origin, window.location.origin);
    page.sent.push(checkMessage(message, "viewer"));
  };
  Object.defineProperty(page.find("#likeness-viewer"), "contentWindow", { value: viewer });
  page.viewer = viewer;
  page.says = (data, { origin = window.location.origin, source = viewer } = {}) =>
    window.dispatchEvent(Object.assign(new window.Event("message"), { data, origin, source }));
  page.ready = () => page.says({ type: "ready", protocol: PROTOCOL_VERSION });
  page.loaded = ({ url, final }) =>
    page.says({ type: "head_loaded", url, final, triangles: 1, morphs: ["jawOpen"], joints: [], maps: [] });
  page.types = () => page.sent.splice(0).map(({ type }) => type);
  page.letter = (...messages) => JSON.stringify({ sent: Math.random(), messages });
  page.bar = () => page.find("#likeness-connection")?.textContent ?? "";
  page.wait = async (seconds) => {
    for (let i = 0; i < seconds; i++) {
      context.mock.timers.tick(1000);
      await settle();
    }
  };
  Object.assign(page, await import(`../../app/static/page.js?${imports++}`));
  await settle();
  return page;
}

test("messages wait for the viewer, and a viewer that reloads gets everything again", async (context) => {
  const page = await setUp(context);
  page.deliver(page.letter(HEAD, { type: "show_progress", text: null, fraction: 1, beside: false }));
  assert.deepEqual(page.sent, []);
  page.ready();
  const first = page.sent.splice(0);
  assert.deepEqual(first, [
    { type: "set_theme", dark: false },
    absolute(HEAD),
    { type: "show_progress", text: null, fraction: 1, beside: false },
  ]);
  page.ready();
  assert.deepEqual(page.sent, first);
});

test("a letter is read once, although Gradio shows it again", async (context) => {
  const page = await setUp(context);
  page.ready();
  page.types();
  const letter = page.letter(HEAD);
  page.deliver(letter);
  page.deliver(letter);
  page.deliver("");
  assert.deepEqual(page.types(), ["load_head"]);
});

test("what the server says of the person reaches the panel, and what the panel asks for leaves the page", async (context) => {
  const page = await setUp(context);
  page.ready();
  page.types();
  const element = page.document.body.appendChild(page.document.createElement("div"));
  page.mountPanel("person", element);
  const asked = [];
  page.connect("draw", (wish) => asked.push(wish));
  const person = { type: "set_person", seed: 7, values: { age: 40 }, fixed: [], truncation: 0.5, colours: {} };
  page.deliver(page.letter(person));
  // It is none of the viewer's business.
  assert.deepEqual(page.types(), []);
  assert.equal(page.find("#likeness-seed").value, "7");
  page.find("#likeness-person-age input").value = "70";
  page.find("#likeness-person-age input").dispatchEvent(new page.window.Event("input"));
  await page.wait(1);
  assert.deepEqual(asked, [{ seed: 7, traits: { age: 70 }, truncation: 0.5 }]);
  assert.throws(() => page.deliver(page.letter({ ...person, seed: "7" })), /seed/);
});

test("a photo's address is made absolute too, and no photo stays none", async (context) => {
  const page = await setUp(context);
  page.ready();
  const camera = { focal_px: 0, principal_x_px: 0, principal_y_px: 0, transform: [], points_px: [] };
  const photo = { type: "set_photo", url: "gradio_api/file=/x/p", width_px: 1, height_px: 1, reading: true, ...camera };
  page.deliver(page.letter(photo, { ...photo, url: null }));
  assert.deepEqual(page.sent.slice(-2), [absolute(photo), { ...photo, url: null }]);
});

test("an edited head comes after its original, so that the viewer can compare them", async (context) => {
  const page = await setUp(context);
  const edited = { ...HEAD, url: "gradio_api/file=/x/b.glb", original: false };
  page.deliver(page.letter(HEAD));
  page.deliver(page.letter(edited));
  page.ready();
  const loads = () => page.sent.filter(({ type }) => type === "load_head");
  assert.deepEqual(loads(), [absolute(HEAD)]);
  page.loaded(absolute(HEAD));
  assert.deepEqual(loads(), [absolute(HEAD), absolute(edited)]);
  page.loaded(absolute(edited));
  assert.equal(loads().length, 2);
  // An original that is gone costs the comparison, not the head; and the visitor need not know.
  page.sent.length = 0;
  page.ready();
  page.says({ type: "failed", text: "The head could not be shown." });
  assert.deepEqual(loads(), [absolute(HEAD), absolute(edited)]);
  assert.equal(page.find("#likeness-status").textContent, "");
});

test("a first head that is dropped is not sent again; the final one before it is", async (context) => {
  const page = await setUp(context);
  page.deliver(page.letter(HEAD, { ...HEAD, url: "first.glb", final: false }, { type: "drop_first" }));
  page.ready();
  assert.deepEqual(
    page.sent.filter(({ type }) => type === "load_head"),
    [absolute(HEAD)],
  );
});

test("saving is done once, and not again when the viewer reloads", async (context) => {
  const page = await setUp(context);
  page.ready();
  page.types();
  page.find("#likeness-save").click();
  assert.deepEqual(page.types(), ["save_head"]);
  page.ready();
  assert.ok(!page.types().includes("save_head"));
});

test("only the viewer is listened to", async (context) => {
  const page = await setUp(context);
  const ready = { type: "ready", protocol: PROTOCOL_VERSION };
  page.says(ready, { origin: "http://elsewhere.test" });
  page.says(ready, { source: page.window });
  assert.deepEqual(page.sent, []);
  page.says({ ...ready, protocol: PROTOCOL_VERSION + 1 });
  assert.deepEqual(page.sent, []);
  assert.match(page.find("#likeness-status .problem").textContent, /old copy/);
});

test("panels act through the page", async (context) => {
  const page = await setUp(context);
  page.ready();
  page.types();
  const mount = page.document.createElement("div");
  page.mountPanel("view", mount);
  mount.querySelector("button").click();
  assert.deepEqual(page.types(), ["set_view"]);
});

test("the theme follows the system until it is chosen, and the choice is remembered", async (context) => {
  const page = await setUp(context, { dark: true });
  const isDark = () => page.document.body.classList.contains("dark");
  page.ready();
  assert.ok(isDark());
  page.switchSystem(false);
  await page.wait(1);
  assert.ok(!isDark());
  assert.deepEqual(page.sent.at(-1), { type: "set_theme", dark: false });
  page.find("#likeness-theme").click();
  assert.ok(isDark());
  assert.equal(page.find("#likeness-theme").getAttribute("aria-label"), "Light theme");
  page.switchSystem(false);
  await page.wait(1);
  assert.ok(isDark());
  assert.equal(page.window.localStorage.getItem("likeness-theme"), "dark");
});

test("a choice of theme from the last visit wins over the system", async (context) => {
  const page = await setUp(context, { dark: false, remembered: "dark" });
  assert.ok(page.document.body.classList.contains("dark"));
  page.ready();
  assert.deepEqual(page.sent[0], { type: "set_theme", dark: true });
});

test("the viewer may fill the window, and Escape ends that", async (context) => {
  const page = await setUp(context);
  const filled = () => page.document.documentElement.classList.contains("likeness-filled");
  page.says({ type: "fill_window", on: true });
  assert.ok(filled());
  page.window.dispatchEvent(new page.window.KeyboardEvent("keydown", { key: "Escape" }));
  assert.ok(!filled());
});

test("Ctrl+Z undoes, with Shift or Y it redoes; not while somebody types", async (context) => {
  const page = await setUp(context);
  const clicks = [];
  for (const id of ["undo", "redo"]) page.find(`#likeness-${id}`).addEventListener("click", () => clicks.push(id));
  const press = (element, init) => {
    const event = new page.window.KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init });
    element.dispatchEvent(event);
    return event.defaultPrevented;
  };
  assert.ok(press(page.document.body, { key: "z", ctrlKey: true }));
  assert.ok(press(page.find("#slider"), { key: "Z", ctrlKey: true, shiftKey: true }));
  assert.ok(press(page.document.body, { key: "y", metaKey: true }));
  assert.ok(!press(page.find("#text"), { key: "z", ctrlKey: true }));
  assert.ok(!press(page.document.body, { key: "z" }));
  assert.deepEqual(clicks, ["undo", "redo", "redo"]);
});

/** Gradio's field: its file input is there only while it is empty. */
function photoField(page) {
  const fed = [];
  const add = () => {
    const input = page.document.createElement("input");
    input.type = "file";
    input.addEventListener("change", () => {
      fed.push(input.files[0]);
      input.remove();
    });
    page.find("#likeness-photo").append(input);
  };
  page.find("#likeness-photo button").addEventListener("click", () => queueMicrotask(add));
  return { fed, add };
}

const drop = (page, target, file) => {
  const event = new page.window.Event("drop", { bubbles: true, cancelable: true });
  target.dispatchEvent(Object.assign(event, { dataTransfer: { types: ["Files"], files: [file] } }));
  return event;
};

test("a photo that is pasted or dropped anywhere arrives in the photo field, in place of the one before", async (context) => {
  const page = await setUp(context);
  page.ready();
  const { fed, add } = photoField(page);
  add();
  const photo = new File(["x"], "me.jpg", { type: "image/jpeg" });
  assert.ok(drop(page, page.document.body, photo).defaultPrevented);
  await settle();
  assert.deepEqual(fed, [photo]);
  // Over the viewer, whose events are its own.
  drop(page, page.viewer, photo);
  await page.wait(1);
  assert.equal(fed.length, 2);
  const paste = Object.assign(new page.window.Event("paste", { bubbles: true }), {
    clipboardData: { files: [new File(["x"], "text.txt", { type: "text/plain" }), photo] },
  });
  page.document.body.dispatchEvent(paste);
  await page.wait(1);
  assert.deepEqual(fed, [photo, photo, photo]);
});

test("what is dropped on the empty photo field is Gradio's to take", async (context) => {
  const page = await setUp(context);
  const { fed, add } = photoField(page);
  add();
  const event = drop(page, page.find("#likeness-photo"), new File(["x"], "me.jpg", { type: "image/jpeg" }));
  await settle();
  assert.ok(!event.defaultPrevented);
  assert.deepEqual(fed, []);
});

test("what the browser has no name for goes to the server all the same, which says what it is", async (context) => {
  const page = await setUp(context);
  const { fed, add } = photoField(page);
  add();
  const event = drop(page, page.find("#likeness-photo"), new File(["x"], "me.heic"));
  await settle();
  assert.ok(event.defaultPrevented);
  assert.deepEqual([fed[0].name, fed[0].type.startsWith("image/")], ["me.heic", true]);
});

test("an example goes the same way as a visitor's photo; one that does not come is a sentence", async (context) => {
  const page = await setUp(context);
  const { fed, add } = photoField(page);
  add();
  page.answers["/app/gradio_api/file=/static/a%20head.jpg"] = () =>
    new page.window.Response("jpeg", { headers: { "content-type": "image/jpeg" } });
  page.find("#likeness-examples img").click();
  await page.wait(1);
  assert.deepEqual([fed[0].name, fed[0].type, await fed[0].text()], ["a head.jpg", "image/jpeg", "jpeg"]);
  page.answers = {};
  page.find("#likeness-examples img").click();
  await page.wait(1);
  assert.match(page.find("#likeness-status .problem").textContent, /example could not be fetched .*404/);
});

test("a silent server is told in one bar, which goes when it answers", async (context) => {
  const page = await setUp(context);
  page.ready();
  assert.equal(page.bar(), "");
  page.server = null;
  await page.wait(25);
  assert.match(page.bar(), /does not answer/);
  assert.equal(page.find("#likeness-connection").getAttribute("role"), "alert");
  page.server = "first";
  await page.wait(10);
  assert.equal(page.bar(), "");
});

test("a restarted server is told with a way out", async (context) => {
  const page = await setUp(context);
  page.server = "second";
  page.document.dispatchEvent(new page.window.Event("visibilitychange"));
  await settle();
  assert.match(page.bar(), /was restarted and has forgotten your head/);
  assert.equal(page.find("#likeness-connection button").textContent, "Reload");
});

test("a viewer that does not come is told, with a button that loads it again", async (context) => {
  const page = await setUp(context);
  let reloads = 0;
  page.viewer.location = { reload: () => reloads++ };
  await page.wait(20);
  assert.match(page.bar(), /viewer did not start/);
  page.find("#likeness-connection button").click();
  assert.equal(reloads, 1);
  page.ready();
  assert.equal(page.bar(), "");
});

test("what Gradio asks while the server is silent is asked again when it is back", async (context) => {
  const page = await setUp(context);
  const join = "/app/gradio_api/queue/join";
  page.answers[join] = ({ body }) => new Response(body);
  page.server = null;
  const answer = page.window.fetch(`${ADDRESS}gradio_api/queue/join`, { method: "POST", body: "a job" });
  await page.wait(5);
  page.server = "first";
  await page.wait(10);
  assert.equal(await (await answer).text(), "a job");
  assert.ok(page.requests.filter((path) => path === join).length >= 2);
});

test("other requests that fail still fail, and so do aborted ones", async (context) => {
  const page = await setUp(context);
  page.server = null;
  await assert.rejects(page.window.fetch(`${ADDRESS}gradio_api/info`), TypeError);
});

test("Gradio does not reload the page behind the visitor's back: the head on show would be lost", async (context) => {
  const page = await setUp(context);
  page.ready();
  const camera = { points_px: [], focal_px: 0, principal_x_px: 0, principal_y_px: 0, transform: [] };
  const none = { type: "set_photo", url: null, width_px: 0, height_px: 0, reading: false, ...camera };
  page.deliver(
    page.letter(
      HEAD,
      none,
      { ...none, url: "me.jpg", reading: true },
      { ...HEAD, url: "first.glb", final: false },
      { ...none, url: "me.jpg" },
      { type: "show_progress", text: "Fit", fraction: 0.5, beside: false },
    ),
  );
  page.types();
  const answer = await page.window.fetch(`${ADDRESS}gradio_api/app_id`);
  assert.equal(answer.ok, false);
  await settle();
  assert.match(page.bar(), /connection broke/);
  assert.equal(page.find("#likeness-connection button").textContent, "Reload");
  // What was being made will not come.
  assert.deepEqual(page.sent.at(-1), none);
  assert.deepEqual(page.types(), ["show_progress", "drop_first", "set_photo"]);
  assert.ok(!page.requests.some((path) => path.endsWith("app_id")));
});

test("Gradio's own words for a lost connection are taken away", async (context) => {
  const page = await setUp(context);
  const toast = page.document.createElement("div");
  toast.className = "toast-body error";
  toast.innerHTML =
    '<p>Connection to the server was lost. Attempting reconnection...</p><button data-testid="toast-close">';
  let closed = 0;
  toast.querySelector("button").addEventListener("click", () => {
    closed++;
    toast.remove();
  });
  page.document.body.append(toast);
  await page.wait(1);
  assert.equal(closed, 1);
  assert.match(page.bar(), /connection broke/);
});
