// The viewer's iframe: connects a Viewer to the page with the messages of protocol.js, and to its own toolbar.

import { checkMessage, PROTOCOL_VERSION } from "./protocol.js";
import { Viewer } from "./viewer.js";

const toolbar = document.getElementById("toolbar");
const progress = document.getElementById("progress");
const notice = document.getElementById("notice");

const tellPage = (message) => window.parent.postMessage(checkMessage(message, "page"), window.location.origin);

function showNotice(text) {
  notice.textContent = text;
  notice.hidden = text === null;
}

function start() {
  let viewer;
  try {
    viewer = new Viewer(document.getElementById("stage"));
  } catch (error) {
    showNotice(error.message);
    tellPage({ type: "failed", text: error.message });
    return;
  }

  const actions = {
    load_head: async (message) => {
      try {
        const loaded = await viewer.loadHead(message);
        if (loaded === null) return;
        toolbar.hidden = false;
        tellPage({ type: "head_loaded", url: message.url, final: message.final, ...loaded });
      } catch (error) {
        tellPage({ type: "failed", text: error.message });
      }
    },
    drop_first: () => viewer.dropFirst(),
    show_progress: ({ text, fraction }) => {
      progress.hidden = text === null;
      progress.querySelector("span").textContent = text ?? "";
      progress.querySelector("progress").value = fraction;
    },
    set_expression: (message) => viewer.setExpression(message),
    set_pose: (message) => viewer.setPose(message),
    set_gaze: (message) => viewer.setGaze(message),
    set_view: (message) => viewer.setView(message),
    set_light: (message) => viewer.setLight(message),
    set_style: (message) => {
      viewer.setStyle(message);
      for (const button of toolbar.querySelectorAll("[data-style]")) {
        button.setAttribute("aria-pressed", String(button.dataset.style === message.style));
      }
    },
    save_head: () => {
      const saved = viewer.saved;
      if (saved) saveFile(saved.fileName, saved.bytes);
    },
  };

  window.addEventListener("message", (event) => {
    // Only the page that holds this iframe may steer it.
    if (event.source !== window.parent || event.origin !== window.location.origin) return;
    const message = checkMessage(event.data, "viewer");
    actions[message.type](message);
  });
  toolbar.addEventListener("click", (event) => {
    const { style, yaw } = event.target.dataset;
    if (style) actions.set_style({ style });
    if (yaw) viewer.setView({ yaw_deg: Number(yaw), pitch_deg: 0, zoom: 1 });
  });
  window.addEventListener("pagehide", (event) => {
    // A page in the back-forward cache comes back to life; one that is left does not.
    if (!event.persisted) viewer.dispose();
  });
  tellPage({ type: "ready", protocol: PROTOCOL_VERSION });
}

function saveFile(fileName, bytes) {
  const url = URL.createObjectURL(new Blob([bytes], { type: "model/gltf-binary" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = fileName;
  link.click();
  // The download has its own hold on the blob by then.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

start();
