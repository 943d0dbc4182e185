// The viewer's iframe: connects a Viewer to the page with the messages of protocol.js, and to its own toolbar.

import { Atlas } from "./atlas.js";
import { describeHead, disposeHead, readHead } from "./head.js";
import { MAPS } from "./maps.js";
import { hasCamera } from "./photo_camera.js";
import { PhotoLayer } from "./photo_layer.js";
import { checkMessage, PROTOCOL_VERSION } from "./protocol.js";
import { readSurroundings } from "./studio.js";
import { FRONT, Viewer } from "./viewer.js";

// A graphics card that is back at all is back by then.
const RESTORE_MS = 4000;

const byId = (id) => document.getElementById(id);
const stage = byId("stage");
const toolbar = byId("toolbar");
const mix = byId("mix");
const wipe = byId("wipe");
const handle = wipe.querySelector("[role=slider]");
const buttons = Object.fromEntries(
  [...toolbar.querySelectorAll("button")].map((button) => [button.dataset.action, button]),
);

const tellPage = (message) => window.parent.postMessage(checkMessage(message, "page"), window.location.origin);

/** A sentence over the stage, with a button that starts the viewer again if `restart`; null takes it away. */
function showNotice(text, restart = false) {
  const notice = byId("notice");
  notice.hidden = text === null;
  notice.querySelector("p").textContent = text ?? "";
  notice.querySelector("button").hidden = !restart;
}

// ------------------------------------------------------------------------------------------------------- the stage

const photos = new PhotoLayer(stage);
let viewer = null;
let restoreTimer = null;

function startViewer() {
  try {
    return new Viewer(stage, {
      changed: refresh,
      lost: () => {
        showNotice("The graphics card has dropped the picture. It usually comes back by itself in a moment.");
        restoreTimer = setTimeout(
          () => showNotice("The graphics card has dropped the picture and not brought it back.", true),
          RESTORE_MS,
        );
      },
      restored: () => {
        clearTimeout(restoreTimer);
        showNotice(null);
      },
    });
  } catch (error) {
    // The page works without pictures: heads are made, and what is fetched below can be saved.
    showNotice(error.message);
    tellPage({ type: "failed", text: error.message });
    return null;
  }
}

// Buttons and layers follow the viewer. Called while it is being built, too.
function refresh() {
  if (!viewer) return;
  const { before, comparing, wiping } = viewer;
  buttons.before.setAttribute("aria-pressed", String(before));
  buttons.before.disabled = !viewer.hasOriginal || comparing;
  buttons.wipe.setAttribute("aria-pressed", String(wiping));
  buttons.wipe.disabled = !viewer.canWipe || comparing;
  showDivider(wiping);
  buttons.compare.setAttribute("aria-pressed", String(comparing));
  mix.hidden = !comparing;
  stage.classList.toggle("comparing", comparing);
  stage.style.setProperty("--mix", comparing ? mix.querySelector("input").value / 100 : 1);
  if (comparing) photos.layout(viewer.photoBox);
  showMap();
}

// ------------------------------------------------------------------------------------------------------------ maps

const atlas = new Atlas(byId("atlas"), () => layFlat(false));
// The map that is asked for, and whether it is to lie flat over the stage.
let map = "";
let flat = false;
let pictured = null;

// The head on show may lack the map that is asked for, and the next may have it.
function showMap() {
  const picture = flat ? (viewer?.mapPicture ?? null) : null;
  if (picture === pictured) return;
  pictured = picture;
  if (picture) atlas.show(picture, MAPS[map]);
  else atlas.close();
  for (const element of [stage, toolbar, mix, wipe]) element.inert = picture !== null;
}

// By a person, in the viewer.
function layFlat(on) {
  flat = on;
  showMap();
  tellPage({ type: "map_shown", map, flat });
  stage.querySelector("canvas")?.focus();
}

// ---------------------------------------------------------------------------------------------------- surroundings

let surroundings = null;

async function setSurroundings({ url, name }) {
  if (url === surroundings) return;
  const before = surroundings;
  surroundings = url;
  try {
    const texture = url === null ? null : await readSurroundings(name, await (await fetch(url)).blob());
    // Another one has been asked for.
    if (url !== surroundings) texture?.dispose();
    else {
      viewer?.surroundWith(texture);
      tellPage({ type: "surroundings_set", name: url === null ? null : name, problem: null });
    }
  } catch (error) {
    if (url !== surroundings) return;
    surroundings = before;
    tellPage({ type: "surroundings_set", name: null, problem: error.message });
  }
}

// --------------------------------------------------------------------------------------- the divider of the wipe

const WIPE_KEYS = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1 };

function showDivider(on) {
  wipe.hidden = !on;
  if (!on) return;
  const percent = Math.round(100 * viewer.wipe);
  wipe.style.setProperty("--wipe", viewer.wipe);
  handle.setAttribute("aria-valuenow", percent);
  handle.setAttribute("aria-valuetext", `${percent} % before, ${100 - percent} % after`);
}

handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
handle.addEventListener("pointermove", (event) => {
  if (!handle.hasPointerCapture(event.pointerId)) return;
  const { left, width } = stage.getBoundingClientRect();
  viewer.wipe = (event.clientX - left) / width;
});
handle.addEventListener("keydown", (event) => {
  if (event.key === "Home") viewer.wipe = 0;
  else if (event.key === "End") viewer.wipe = 1;
  else if (event.key in WIPE_KEYS) viewer.wipe += WIPE_KEYS[event.key];
  else return;
  event.preventDefault();
});

// ----------------------------------------------------------------------------------------------------------- heads

let turn = 0;
// The newest final head as it came from the server, and whether it is the one on show.
let saved = null;
let finalOnShow = false;

async function fetchHead(url) {
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return await response.arrayBuffer();
  } catch (error) {
    throw new Error(
      `The head could not be fetched (${error.message}). See whether the network and the server are there, then make it again.`,
      { cause: error },
    );
  }
}

async function loadHead({ url, file_name, final, original, expression }) {
  const mine = ++turn;
  try {
    const bytes = await fetchHead(url);
    if (mine !== turn) return;
    const head = await readHead(bytes, expression);
    if (mine !== turn) {
      disposeHead(head);
      return;
    }
    if (final) saved = { fileName: file_name, bytes };
    finalOnShow = final;
    const about = describeHead(head);
    if (viewer) {
      viewer.show(head, { final, original });
      toolbar.hidden = false;
    } else disposeHead(head);
    photos.giveWay();
    tellPage({ type: "head_loaded", url, final, ...about });
  } catch (error) {
    if (mine === turn) tellPage({ type: "failed", text: error.message });
  }
}

function saveFile(fileName, blob) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = fileName;
  link.click();
  // The download has its own hold on the blob by then.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// -------------------------------------------------------------------------------------------------------- messages

const actions = {
  load_head: loadHead,
  drop_first: () => {
    // A first head that is still on its way does not arrive.
    ++turn;
    finalOnShow = saved !== null;
    viewer?.dropFirst();
  },
  set_photo: (message) => {
    photos.set(message);
    const comparable = hasCamera(message) && !message.reading;
    buttons.compare.hidden = !comparable;
    viewer?.setPhoto(comparable ? message : null);
  },
  show_progress: ({ text, fraction, beside }) => {
    const progress = byId("progress");
    progress.hidden = text === null;
    progress.classList.toggle("beside", beside);
    progress.querySelector("span").textContent = text ?? "";
    progress.querySelector("progress").value = fraction;
  },
  set_expression: (message) => viewer?.setExpression(message),
  set_pose: (message) => viewer?.setPose(message),
  set_gaze: (message) => viewer?.setGaze(message),
  set_view: (message) => viewer?.setView(message),
  set_light: (message) => viewer?.setLight(message),
  set_style: (message) => viewer?.setStyle(message),
  set_detail: (message) => viewer?.setDetail(message),
  set_map: (message) => {
    const opened = message.flat && !flat;
    ({ map, flat } = message);
    viewer?.setMap(map);
    showMap();
    // Keys belong to what has just been opened.
    if (opened && atlas.open) {
      window.focus();
      atlas.focus();
    }
  },
  set_surroundings: setSurroundings,
  set_idle: (message) => viewer?.setIdle(message),
  set_theme: ({ dark }) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  },
  save_head: () => {
    if (saved && finalOnShow) saveFile(saved.fileName, new Blob([saved.bytes], { type: "model/gltf-binary" }));
  },
};

window.addEventListener("message", (event) => {
  // Only the page that holds this iframe may steer it.
  if (event.source !== window.parent || event.origin !== window.location.origin) return;
  const message = checkMessage(event.data, "viewer");
  actions[message.type](message);
});

// --------------------------------------------------------------------------------------------------------- toolbar

// The sides that Three-quarter and Side show; pressing again shows the other one.
function look(yaw_deg) {
  const there = Math.abs(viewer.view.yaw_deg - yaw_deg) < 3 && Math.abs(viewer.view.pitch_deg) < 3;
  viewer.setView({ ...FRONT, yaw_deg: there ? -yaw_deg : yaw_deg }, { smooth: true });
}

// The backdrop of viewer.css, for snapshots.
function paintBackdrop(context, width, height) {
  const style = getComputedStyle(document.documentElement);
  const gradient = context.createRadialGradient(0, 0, 0, 0, 0, 1);
  [
    ["--backdrop-light", 0],
    ["--backdrop-middle", 0.48],
    ["--backdrop-dark", 1],
  ].forEach(([name, at]) => gradient.addColorStop(at, style.getPropertyValue(name).trim()));
  context.save();
  context.translate(width * 0.5, height * 0.42);
  context.scale(width * 0.9, height * 0.85);
  context.fillStyle = gradient;
  context.fillRect(-2, -2, 4, 4);
  context.restore();
  if (viewer.comparing) photos.paint(context, viewer.photoBox);
}

function snapshot() {
  const opacity = viewer.comparing ? mix.querySelector("input").value / 100 : 1;
  const name = (saved?.fileName ?? "head.glb").replace(/\.glb$/, "");
  viewer.snapshot(paintBackdrop, opacity).toBlob((blob) => saveFile(`${name}.png`, blob), "image/png");
}

let filled = false;

/** Fill the screen, or the page's window where the browser keeps full screen for videos. */
function fill(on) {
  if (document.fullscreenEnabled) {
    if (on) document.documentElement.requestFullscreen().catch(() => fillWindow(true));
    else if (document.fullscreenElement) document.exitFullscreen();
    else fillWindow(false);
  } else fillWindow(on);
}

function fillWindow(on) {
  filled = on;
  tellPage({ type: "fill_window", on });
  showFilled();
}

const isFilled = () => filled || document.fullscreenElement !== null;

function showFilled() {
  const label = isFilled() ? "Leave full screen" : "Full screen";
  buttons.full.setAttribute("aria-label", label);
  buttons.full.querySelector("span").textContent = label;
  buttons.full.setAttribute("aria-pressed", String(isFilled()));
}

const presses = {
  front: () => viewer.setView(FRONT, { smooth: true }),
  "three-quarter": () => look(40),
  side: () => look(90),
  reset: () => viewer.setView(FRONT, { smooth: true }),
  before: () => viewer.setBefore(!viewer.before),
  wipe: () => viewer.setWiping(!viewer.wiping),
  compare: () => {
    viewer.setBefore(false);
    viewer.setComparing(!viewer.comparing);
  },
  snapshot,
  full: () => fill(!isFilled()),
};

toolbar.addEventListener("click", (event) => presses[event.target.closest("button")?.dataset.action]?.());
mix.addEventListener("input", refresh);
byId("notice")
  .querySelector("button")
  .addEventListener("click", () => window.location.reload());
document.addEventListener("fullscreenchange", showFilled);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (atlas.open) layFlat(false);
  else if (viewer?.comparing) viewer.setComparing(false);
  else if (viewer?.before) viewer.setBefore(false);
  else if (viewer?.wiping) viewer.setWiping(false);
  else if (filled) fillWindow(false);
});
window.addEventListener("pagehide", (event) => {
  // A page in the back-forward cache comes back to life; one that is left does not.
  if (!event.persisted) viewer?.dispose();
});

viewer = startViewer();
// For tests and measurements.
window.likenessViewer = viewer;
tellPage({ type: "ready", protocol: PROTOCOL_VERSION });
