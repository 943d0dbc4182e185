// The page's side of the protocol: holds what the viewer should show, and sends it whenever the viewer is there. And
// what Gradio does not do: the panels, the theme, photos that are pasted or dropped anywhere, a server that goes away.
//
// ui.py imports this module before it gives the iframe its address, so no message of the viewer is missed. State lives
// here and not in the iframe, so that a viewer that reloads gets everything again.

import { Connection, SENTENCES } from "./connection.js";
import { Panels } from "./panels.js";
import { PersonPanel } from "./person.js";
import { checkMessage, MESSAGES, PROTOCOL_VERSION } from "./protocol.js";
import { WordsPanel } from "./words.js";

// The last message of each type, in order of first use. Sending them all rebuilds the viewer's state.
const state = new Map();
let lastSent = null;
// The newest final head, and the newest that is not an edit of another: what "before" shows.
let lastFinal = null;
let lastOriginal = null;
// The photo that goes with that final head.
let lastPhoto = null;
// An edited head that is sent again as soon as its original is on show.
let afterOriginal = null;
let viewerReady = false;

const byId = (id) => document.getElementById(id);
const viewerFrame = () => byId("likeness-viewer");

function post(message) {
  if (viewerReady) viewerFrame().contentWindow.postMessage(message, window.location.origin);
}

function send(message) {
  checkMessage(message, "viewer");
  if (message.type === "load_head") {
    afterOriginal = null;
    if (message.final) lastFinal = message;
    if (message.final && message.original) lastOriginal = message;
  }
  if (message.type === "set_photo" && !message.reading && state.get("load_head")?.final) lastPhoto = message;
  if (message.type === "drop_first") {
    if (lastFinal) state.set("load_head", lastFinal);
  } else if (message.type !== "save_head") state.set(message.type, message);
  post(message);
}

// The viewer has started, perhaps once more: everything again.
function resend() {
  viewerReady = true;
  for (const message of state.values()) {
    const edited = message.type === "load_head" && message.final && !message.original;
    if (edited && lastOriginal) {
      afterOriginal = message;
      post(lastOriginal);
    } else post(message);
  }
}

function sendEdited() {
  const message = afterOriginal;
  afterOriginal = null;
  if (message) post(message);
}

/**
 * Messages from the server: a JSON text of {sent, messages}; a letter that was read before is not read again.
 * Addresses are made absolute, because the iframe has another base.
 */
export function deliver(text) {
  if (!text) return;
  const { sent, messages } = JSON.parse(text);
  if (sent === lastSent) return;
  lastSent = sent;
  for (const message of messages) {
    if (MESSAGES[message.type]?.to === "page") reactions[message.type](checkMessage(message, "page"));
    else send(message.url ? { ...message, url: new URL(message.url, document.baseURI).href } : message);
  }
}

// What the page can ask the server for, by name: given by the components of ui.py whose events these are.
const questions = new Map();

/** How to ask the server for `what`: a function of a wish. */
export function connect(what, ask) {
  questions.set(what, ask);
}

const panels = new Panels(send);
const person = new PersonPanel({
  ask: (what, wish) => questions.get(what)?.(wish),
  surprise: () => byId("likeness-random")?.click(),
});
const words = new WordsPanel({
  ask: (wish) => questions.get("edit")?.(wish),
  moved: (expression) => panels.wordsMoved(expression),
});

/** Build a panel of panels.js, person.js or words.js into an element; again after Gradio has made it anew. */
export function mountPanel(kind, element) {
  if (kind === "person") person.mount(element);
  else if (kind === "words") words.mount(element);
  else panels.mount(kind, element);
}

/** A sentence about something that did not work, below the status lines of the server. */
function complain(text) {
  const line = document.createElement("p");
  line.className = "problem";
  line.textContent = text;
  byId("likeness-status")?.append(line);
}

// ---- Messages of the viewer, and those of the server for the page ----

const reactions = {
  set_person: (message) => person.setPerson(message),
  set_faces: (message) => person.setFaces(message),
  set_words: (message) => words.setWords(message),
  ready: ({ protocol }) => {
    if (protocol !== PROTOCOL_VERSION) {
      complain("The viewer is an old copy from the browser's cache. Reload the page without its cache.");
      return;
    }
    listen(viewerFrame().contentWindow);
    resend();
  },
  head_loaded: (message) => {
    document.documentElement.dataset.likenessHead = message.final ? "final" : "first";
    panels.headLoaded(message);
    sendEdited();
    window.dispatchEvent(new CustomEvent("likeness:head", { detail: message }));
  },
  map_shown: (message) => panels.mapShown(message),
  surroundings_set: (message) => panels.surroundingsSet(message),
  fill_window: ({ on }) => fillWindow(on),
  failed: ({ text }) => {
    // An original that is no longer kept costs the comparison, not the head.
    if (afterOriginal) sendEdited();
    else complain(text);
  },
};

window.addEventListener("message", (event) => {
  if (event.origin !== window.location.origin || event.source !== viewerFrame()?.contentWindow) return;
  const message = checkMessage(event.data, "page");
  connection.viewerStarted();
  reactions[message.type](message);
});

function fillWindow(on) {
  document.documentElement.classList.toggle("likeness-filled", on);
  // Keys belong to the viewer then, Escape above all.
  if (on) viewerFrame().focus();
}

// ---- Theme ----

const THEME_KEY = "likeness-theme";
const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

// A browser may refuse storage altogether; the choice then lasts as long as the page.
let chosenTheme = null;
try {
  chosenTheme = localStorage.getItem(THEME_KEY);
} catch {
  chosenTheme = null;
}

const isDark = () => (chosenTheme ? chosenTheme === "dark" : systemDark.matches);

function applyTheme() {
  const dark = isDark();
  document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  const label = dark ? "Light theme" : "Dark theme";
  const button = byId("likeness-theme");
  for (const [name, value] of Object.entries({ "aria-label": label, title: label })) button?.setAttribute(name, value);
  button?.replaceChildren(label);
  if (state.get("set_theme")?.dark !== dark) send({ type: "set_theme", dark });
}

function switchTheme() {
  chosenTheme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem(THEME_KEY, chosenTheme);
  } catch {
    // Not remembered, then.
  }
  applyTheme();
}

// Gradio listens too, and would put the system's theme back over the chosen one.
systemDark.addEventListener("change", () => setTimeout(applyTheme, 0));

// ---- Photos from anywhere ----

const photoInput = () => document.querySelector("#likeness-photo input[type=file]");

// Gradio turns away, in words of its own, what the browser has no name for or knows as something else: a HEIC photo on
// most systems, a text. The server reads what a file holds, and says in full what is wrong with it.
const isPicture = (file) => file.type.startsWith("image/");

function fill(input, file) {
  const transfer = new DataTransfer();
  transfer.items.add(isPicture(file) ? file : new File([file], file.name, { type: "image/unknown" }));
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

/** Put a picture into Gradio's photo input as if it had been chosen there; a photo that is there gives way. */
async function feed(file) {
  if (!photoInput()) {
    document.querySelector("#likeness-photo :is([aria-label='Remove Image'], [aria-label='Clear'])")?.click();
    await appear(photoInput);
  }
  const input = photoInput();
  if (!input) {
    complain("The picture could not be taken over. Choose it with the photo field.");
    return;
  }
  fill(input, file);
}

function appear(find, patience_ms = 3000) {
  return new Promise((resolve) => {
    const observer = new MutationObserver(() => find() && finish());
    const timer = setTimeout(() => finish(), patience_ms);
    function finish() {
      clearTimeout(timer);
      observer.disconnect();
      resolve();
    }
    observer.observe(document.body, { childList: true, subtree: true });
  });
}

// What the browser cannot show (HEIC, or no picture at all) is better no preview than a torn one.
for (const [type, visibility] of [
  ["error", "hidden"],
  ["load", ""],
]) {
  window.addEventListener(
    type,
    ({ target }) => {
      if (target.matches?.("#likeness-photo img, #likeness-side img")) target.style.visibility = visibility;
    },
    true,
  );
}

/** An example picture, by its address: the same way as a visitor's own. */
async function feedExample(button) {
  const address = new URL(button.dataset.src, document.baseURI);
  button.setAttribute("aria-busy", "true");
  try {
    const response = await window.fetch(address);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const picture = await response.blob();
    const name = decodeURIComponent(address.pathname.split("/").at(-1));
    await feed(new File([picture], name, { type: picture.type }));
  } catch (error) {
    complain(`The example could not be fetched (${error.message}). Try again, or choose a photo of your own.`);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
// Gradio's own field takes what is dropped on it, while it is empty.
const FIELDS = "#likeness-photo, #likeness-side-left, #likeness-side-right";
const fieldUnder = (event) => event.target.closest?.(FIELDS)?.querySelector("input[type=file]");

function dragging(on) {
  document.documentElement.classList.toggle("likeness-dragging", on);
}

const isTyping = (element) =>
  element?.isContentEditable ||
  element?.matches?.("textarea, input:not([type=range], [type=radio], [type=checkbox], [type=button], [type=file])");

function onPaste(event) {
  if (isTyping(event.target)) return;
  const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  feed(file);
}

// Before Gradio's field hears of it.
function onDrop(event) {
  dragging(false);
  if (!carriesFile(event)) return;
  const [file] = event.dataTransfer.files;
  const field = fieldUnder(event);
  if (field && file && isPicture(file)) return;
  event.preventDefault();
  event.stopPropagation();
  if (file && field) fill(field, file);
  else if (file) feed(file);
}

function onDrag(event) {
  if (!carriesFile(event)) return;
  // Without this the browser would open the picture in place of the page.
  event.preventDefault();
  dragging(true);
}

// Ctrl+Z, and Ctrl+Shift+Z or Ctrl+Y.
function onKey(event) {
  if (event.key === "Escape" && !panels.closeMap()) fillWindow(false);
  if (!(event.ctrlKey || event.metaKey) || event.altKey || isTyping(event.target)) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  byId(key === "y" || event.shiftKey ? "likeness-redo" : "likeness-undo")?.click();
}

function listen(target) {
  target.addEventListener("paste", onPaste);
  target.addEventListener("dragenter", onDrag);
  target.addEventListener("dragover", onDrag);
  // Towards nothing: out of the window.
  target.addEventListener("dragleave", (event) => event.relatedTarget === null && dragging(false));
  target.addEventListener("drop", onDrop, true);
  target.addEventListener("keydown", onKey);
}

// Gradio's tabs take clicks alone.
function onTabKey(event) {
  const tab = event.target.closest?.("#likeness-panels [role=tab]");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!tab || !step) return;
  event.preventDefault();
  const tabs = [...tab.parentElement.querySelectorAll("[role=tab]")];
  const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

listen(window);
document.addEventListener("keydown", onTabKey);
document.addEventListener(
  "change",
  (event) => {
    const { target } = event;
    if (!target.matches?.(":is(#likeness-photo, #likeness-side) input[type=file]")) return;
    const [file] = target.files;
    if (!file || isPicture(file)) return;
    event.stopImmediatePropagation();
    fill(target, file);
  },
  true,
);
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#likeness-theme")) switchTheme();
  // Not by Gradio's listeners, which hear nothing any more once its connection has broken.
  if (event.target.closest?.("#likeness-save")) send({ type: "save_head" });
  const example = event.target.closest?.("#likeness-examples [data-src]");
  if (example) feedExample(example);
});

// ---- The connection ----

const request = window.fetch.bind(window);

async function askServer() {
  const address = new URL("likeness/alive", document.baseURI);
  const answer = await request(address, { cache: "no-store", signal: AbortSignal.timeout(15_000) });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return (await answer.json()).server;
}

const connection = new Connection(askServer, showProblem);

function showProblem(problem) {
  const bar = byId("likeness-connection") ?? document.body.appendChild(document.createElement("div"));
  bar.id = "likeness-connection";
  bar.setAttribute("role", "alert");
  bar.replaceChildren();
  document.documentElement.classList.toggle("likeness-problem", problem !== null);
  if (problem === null) return;
  const text = document.createElement("p");
  text.textContent = SENTENCES[problem];
  bar.append(text);
  const cure = { restarted: "Reload", interrupted: "Reload", viewer: "Reload viewer" }[problem];
  if (!cure) return;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = cure;
  button.addEventListener("click", () => (problem === "viewer" ? reloadViewer() : window.location.reload()));
  bar.append(button);
}

// What was being made will not come.
function interrupt() {
  if (state.has("show_progress")) send({ type: "show_progress", text: null, fraction: 0, beside: false });
  if (state.get("load_head")?.final === false) send({ type: "drop_first" });
  if (lastPhoto && state.get("set_photo") !== lastPhoto) send(lastPhoto);
  // The server switches it off while an unfinished head is on show, and cannot switch it on again.
  if (lastFinal) byId("likeness-save")?.removeAttribute("disabled");
  connection.interrupt();
}

function reloadViewer() {
  viewerReady = false;
  connection.expectViewer();
  viewerFrame().contentWindow.location.reload();
}

// How often a request is sent again: a server that answers and still fails it will not be asked for ever.
const PATIENCE = 5;

// Gradio drops what it was about to ask when the network is away, and from then on it asks nothing at all. Here such a
// request waits. Where its stream of answers breaks Gradio does give up: it asks for the app's id until somebody
// answers, and then reloads the page unasked, which would throw away the head on show.
window.fetch = async function fetchPatiently(resource, options) {
  const address = new URL(resource instanceof Request ? resource.url : resource, document.baseURI);
  const own = address.origin === window.location.origin;
  if (own && address.pathname.endsWith("/gradio_api/app_id")) {
    interrupt();
    return new Response(null, { status: 503 });
  }
  const waits = own && /\/gradio_api\/(queue\/join|upload)$/.test(address.pathname);
  for (let left = waits ? PATIENCE : 0; ; left--) {
    try {
      return await request(resource, options);
    } catch (error) {
      if (!own || error.name === "AbortError") throw error;
      if (left === 0) {
        connection.check();
        throw error;
      }
      await connection.mended();
    }
  }
};

// Its words for that, which say less than ours.
const GRADIOS_WORDS = /Connection to the server was lost|Connection errored out/;

new MutationObserver(() => {
  for (const toast of document.querySelectorAll(".toast-body")) {
    if (!GRADIOS_WORDS.test(toast.textContent)) continue;
    toast.querySelector("[data-testid='toast-close']")?.click();
    interrupt();
  }
}).observe(document.body, { childList: true, subtree: true });

const check = () => connection.check();
window.addEventListener("online", check);
window.addEventListener("offline", check);
window.addEventListener("pageshow", (event) => event.persisted && check());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && check());

applyTheme();
connection.expectViewer();
check();
