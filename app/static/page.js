// The page's side of the protocol: holds what the viewer should show, and sends it whenever the viewer is there.
//
// ui.py imports this module before it gives the iframe its address, so no message of the viewer is missed. State lives
// here and not in the iframe, so that a viewer that reloads gets everything again.

import { checkMessage, PROTOCOL_VERSION } from "./protocol.js";

// The last message of each type, in order of first use. Sending them all rebuilds the viewer's state.
const state = new Map();
// slider key -> { value, up, down, angle }, as SliderEffect in app/ui.py
const sliders = new Map();
let own = true;
let lastSent = null;
let lastFinal = null;
let frame = null;
let viewerReady = false;

const viewerFrame = () => document.getElementById("likeness-viewer");

function send(message) {
  checkMessage(message, "viewer");
  if (message.type === "load_head" && message.final) lastFinal = message;
  if (message.type === "drop_first") {
    if (lastFinal) state.set("load_head", lastFinal);
  } else if (message.type !== "save_head") state.set(message.type, message);
  if (viewerReady) viewerFrame().contentWindow.postMessage(message, window.location.origin);
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
    send(message.type === "load_head" ? { ...message, url: new URL(message.url, document.baseURI).href } : message);
  }
}

/** A slider has moved. `effect` says what it does, as SliderEffect in app/ui.py. */
function slide(key, value, effect) {
  sliders.set(key, { value, ...effect });
  // Sliders fire faster than the screen draws.
  frame ??= requestAnimationFrame(sendSliders);
}

/** Every slider back to rest. */
function reset() {
  for (const slider of sliders.values()) slider.value = 0;
  frame ??= requestAnimationFrame(sendSliders);
}

/** Whether the expression found on the photo is part of what is shown. */
function keepOwn(value) {
  own = value;
  frame ??= requestAnimationFrame(sendSliders);
}

function sendSliders() {
  frame = null;
  const weights = {};
  const angles = { pose_yaw: 0, pose_pitch: 0, pose_roll: 0, gaze_yaw: 0, gaze_pitch: 0, light_yaw: 0 };
  for (const { value, up, down, angle } of sliders.values()) {
    for (const [name, weight] of Object.entries(value >= 0 ? up : down)) {
      weights[name] = (weights[name] ?? 0) + weight * Math.abs(value);
    }
    if (angle) angles[angle] += value;
  }
  const poses = { yaw_deg: angles.pose_yaw, pitch_deg: angles.pose_pitch, roll_deg: angles.pose_roll };
  const messages = [
    { type: "set_expression", weights, own },
    { type: "set_pose", ...poses },
    { type: "set_gaze", yaw_deg: angles.gaze_yaw, pitch_deg: angles.gaze_pitch },
    { type: "set_light", yaw_deg: angles.light_yaw, exposure: 1 },
  ];
  for (const message of messages) {
    if (JSON.stringify(state.get(message.type)) !== JSON.stringify(message)) send(message);
  }
}

function save() {
  send({ type: "save_head" });
}

const reactions = {
  ready: ({ protocol }) => {
    if (protocol !== PROTOCOL_VERSION) {
      reactions.failed({
        text: "The viewer is an old copy from the browser's cache. Reload the page without its cache.",
      });
      return;
    }
    viewerReady = true;
    for (const message of state.values()) send(message);
  },
  head_loaded: (message) => {
    document.documentElement.dataset.likenessHead = message.final ? "final" : "first";
    window.dispatchEvent(new CustomEvent("likeness:head", { detail: message }));
  },
  failed: ({ text }) => {
    const status = document.getElementById("likeness-status");
    const line = document.createElement("p");
    line.className = "problem";
    line.textContent = text;
    status?.append(line);
  },
};

window.addEventListener("message", (event) => {
  if (event.origin !== window.location.origin || event.source !== viewerFrame()?.contentWindow) return;
  const message = checkMessage(event.data, "page");
  reactions[message.type](message);
});

// For Gradio's listeners, which are texts of JavaScript and cannot import.
window.likeness = { keepOwn, reset, save, slide };
