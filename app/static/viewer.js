// The three.js viewer: one class that owns the heads on show, their camera, and when a picture is drawn.
//
// Conventions are those of core/__init__.py: right-handed, +Y up, the face looks towards +Z, metres. Angles that
// arrive in messages are degrees. Nothing here knows about Gradio or messages: `main.js` connects a Viewer to the page.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { disposeHead, poseHead, textureBytes } from "./head.js";
import { Idle } from "./idle.js";
import { withoutWords } from "./morph_weights.js";
import { letterbox, photoCamera } from "./photo_camera.js";
import { Studio } from "./studio.js";
import { DEFAULT_DETAIL, limitDetail, setDetail } from "./skin.js";
import { checkStyle, Surfaces } from "./surfaces.js";
import {
  between,
  FIELD_OF_VIEW_DEG,
  framingDistance,
  limitView,
  offsetOf,
  PAN_LIMIT,
  PITCH_RANGE_DEG,
  steer,
  viewOf,
  ZOOM_RANGE,
} from "./viewpoint.js";

export const FRONT = { yaw_deg: 0, pitch_deg: 0, zoom: 1 };
// How far the head is lifted for the toolbar below it.
const LIFT_PX = 24;
// Room around a photo that is compared with, for the buttons; on a phone held upright some stand above it (viewer.css).
const PHOTO_INSETS = { top: 16, right: 16, bottom: 128, left: 16 };
const PHOTO_TOP_UPRIGHT_PX = 204;
const TURN_MS = 380;
// Idle movement is slow: half the frames of a screen are enough and leave a phone cooler.
const IDLE_FRAME_MS = 30;
// Where frames keep coming this long after they were asked for, they are drawn coarser, and in full once all is at rest.
const SLOW_FRAME_MS = 45;
const SLOW_FRAMES = 8;
const REST_MS = 150;
const COARSENESS = [1, 0.75, 0.5];
const TAP_MS = 320;
const TAP_PX = 24;
const NEUTRAL = { weights: {}, own: true };
// Where the wipe's divider stands at first, and how close to the picture's sides it goes.
const WIPE_START = 0.5;
const WIPE_LIMITS = [0.04, 0.96];
const STRAIGHT = { yaw_deg: 0, pitch_deg: 0, roll_deg: 0 };

const { degToRad } = THREE.MathUtils;

// What a phone, or a machine with little memory (gigabytes, where the browser says), can bear.
const poor = () => (navigator.deviceMemory ?? 8) <= 4;
const small = () => poor() || window.matchMedia("(pointer: coarse)").matches;
const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Viewer {
  #renderer;
  #scene = new THREE.Scene();
  #camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW_DEG, 1, 0.05, 20);
  #controls;
  #studio;
  #surfaces = new Surfaces();
  #resizeObserver;
  #stage = { width: 1, height: 1 };
  #events;

  // Every head that holds memory; those that are neither shown nor to be returned to are freed.
  #held = new Set();
  #shown = null;
  // The final head that a first one has taken the place of.
  #behind = null;
  // The newest final head that is no edit of another.
  #original = null;
  #before = false;
  // Share of the picture, from the left, that shows the original; null: none does.
  #wipe = null;
  #photo = null;
  #comparing = false;

  #expression = NEUTRAL;
  #pose = STRAIGHT;
  #gaze = STRAIGHT;
  #style = "textured";
  #detail = DEFAULT_DETAIL;
  // The map that is shown in place of the surface, or "".
  #map = "";
  #idle = null;

  #framed_m = 1;
  #turn = null;
  #frame = null;
  #asked_ms = 0;
  #buffer = "";
  #dirty = true;
  #drawn_ms = -Infinity;
  #slow = 0;
  #coarseness = 0;
  #restTimer = null;
  #lost = false;
  #pictures = 0;
  // Of the last picture.
  #cost = { calls: 0, triangles: 0 };
  // Shadows lie as they are until head or light move: a camera that turns does not draw them again.
  #shadowsDue = true;

  /**
   * Draw into `container` (an element with a size). events: {changed, lost, restored}, functions that are called when
   * what the buttons show may have changed, and when the graphics card has dropped the picture and has it back. Throws
   * an Error with a sentence where WebGL is not available.
   */
  constructor(container, events) {
    this.container = container;
    this.#events = events;
    try {
      this.#renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
    } catch (error) {
      throw new Error(
        "This browser cannot draw 3D pictures: WebGL 2 is switched off or missing. Switch on hardware acceleration " +
          "in its settings, or use another browser. Heads can be made and downloaded all the same.",
        { cause: error },
      );
    }
    this.#renderer.shadowMap.enabled = true;
    this.#renderer.shadowMap.type = THREE.PCFShadowMap;
    this.#renderer.shadowMap.autoUpdate = false;
    // A picture of a wipe is two.
    this.#renderer.info.autoReset = false;

    const canvas = this.#renderer.domElement;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-roledescription", "3D view");
    canvas.setAttribute("aria-label", "The 3D head");
    canvas.setAttribute("aria-describedby", "help");
    canvas.addEventListener("keydown", this.#onKey);
    canvas.addEventListener("pointerup", this.#onTap);
    canvas.addEventListener("webglcontextlost", this.#onLost);
    canvas.addEventListener("webglcontextrestored", this.#onRestored);
    document.addEventListener("visibilitychange", this.requestRender);
    container.append(canvas);

    this.#studio = new Studio(this.#renderer, this.#scene, small() ? 512 : 1024);
    this.#controls = new OrbitControls(this.#camera, canvas);
    this.#controls.enableDamping = true;
    this.#controls.dampingFactor = 0.12;
    this.#controls.rotateSpeed = 0.7;
    this.#controls.minPolarAngle = degToRad(90 - PITCH_RANGE_DEG[1]);
    this.#controls.maxPolarAngle = degToRad(90 - PITCH_RANGE_DEG[0]);
    this.#controls.addEventListener("change", this.#requestView);
    // A hand on the camera has the last word.
    this.#controls.addEventListener("start", () => (this.#turn = null));

    this.#resizeObserver = new ResizeObserver(this.#onResize);
    this.#resizeObserver.observe(container);
    this.#onResize();
    this.setView(FRONT);
  }

  // ---------------------------------------------------------------------------------------------------- heads

  /**
   * Show a head (as readHead returns), which belongs to the viewer from now on. final, original: as in load_head. The
   * camera keeps its place, except for the first head.
   */
  show(head, { final, original }) {
    const opening = this.#shown === null;
    head.final = final;
    head.original = original;
    this.#held.add(head);
    if (final) {
      this.#behind = null;
      if (original || this.#original === null) this.#original = head;
    } else if (this.#shown?.final) {
      this.#behind = this.#shown;
    }
    this.#before = false;
    this.#put(head, opening);
  }

  /** A first head will not be finished: return to the final one before it, if there is one. */
  dropFirst() {
    if (this.#behind === null) return;
    const head = this.#behind;
    this.#behind = null;
    this.#put(head, false);
  }

  #put(head, opening) {
    const view = this.view;
    this.#shown = head;
    for (const held of this.#held) {
      if (held === this.#shown || held === this.#behind || held === this.#original) continue;
      disposeHead(held);
      this.#held.delete(held);
    }
    this.#controls.target.copy(head.centre);
    this.#controls.cursor.copy(head.centre);
    this.#controls.maxTargetRadius = head.size.y * PAN_LIMIT;
    this.#studio.centre(head.centre);
    this.#applyZoomLimits();
    this.#place(opening ? FRONT : view);
    this.#update();
  }

  /** The head in the picture; of a wipe, the one on the right. */
  get #visible() {
    return this.#before && this.#original ? this.#original : this.#shown;
  }

  /** The heads in the picture. */
  get #visibles() {
    return this.wiping ? [this.#original, this.#shown] : [this.#visible];
  }

  // ------------------------------------------------------------------------------------------------- messages

  /** Morph weights by ARKit name; see SetExpression in app/protocol.py. */
  setExpression({ weights, own }) {
    this.#expression = { weights, own };
    this.requestRender();
  }

  /** Turn the head on its neck, degrees. */
  setPose({ yaw_deg, pitch_deg, roll_deg }) {
    this.#pose = { yaw_deg, pitch_deg, roll_deg };
    this.requestRender();
  }

  /** Turn both eyes, degrees. */
  setGaze({ yaw_deg, pitch_deg }) {
    this.#gaze = { yaw_deg, pitch_deg };
    this.requestRender();
  }

  /** Place the camera around the middle of the head, degrees; zoom 1 frames it. smooth: on a way that can be seen. */
  setView(view, { smooth = false } = {}) {
    this.setComparing(false);
    const to = limitView(view);
    const target = this.#shown?.centre ?? this.#controls.target;
    // What is left of a drag's momentum would carry the camera past its place: without damping, update() uses it up.
    this.#controls.enableDamping = false;
    this.#controls.update();
    this.#controls.enableDamping = true;
    if (smooth && !calm()) {
      this.#turn = { from: this.view, to, fromTarget: this.#controls.target.clone(), target, start_ms: null };
    } else {
      this.#turn = null;
      this.#controls.target.copy(target);
      this.#place(to);
    }
    this.#requestView();
  }

  /** Where the camera stands: {yaw_deg, pitch_deg, zoom}. */
  get view() {
    return viewOf(this.#camera.position.clone().sub(this.#controls.target), this.#framed_m);
  }

  /** Light as a set_light message says. */
  setLight(light) {
    this.#studio.set(light);
    this.requestRender();
  }

  /** One of STYLES in surfaces.js. */
  setStyle({ style }) {
    this.#style = checkStyle(style);
    this.#update();
  }

  /** How strongly skin shows its relief, its wrinkles, its scattering and its shine: a set_detail message. */
  setDetail(detail) {
    this.#detail = limitDetail(detail);
    this.#update();
  }

  /** Show a map of the skin (a name of maps.js) in place of the surface, "" for none; heads without it keep theirs. */
  setMap(map) {
    if (map === this.#map) return;
    this.#map = map;
    this.#update();
  }

  /** The map on show as a canvas, or null. */
  get mapPicture() {
    return this.#visible?.inspected?.picture ?? null;
  }

  /** Surroundings of a visitor's own (readSurroundings of studio.js), or null: those of the light. */
  surroundWith(texture) {
    this.#studio.surroundWith(texture);
    this.requestRender();
  }

  /** Whether the head blinks and breathes. */
  setIdle({ on }) {
    if (on === (this.#idle !== null)) return;
    this.#idle = on ? new Idle() : null;
    this.requestRender();
  }

  /** The photo that can be compared with (a set_photo message with a camera), or null. */
  setPhoto(photo) {
    this.#photo = photo;
    if (photo === null) this.setComparing(false);
    this.#update();
  }

  /** Show the original as it was made, or what the sliders make. */
  setBefore(on) {
    this.#before = on && this.#original !== null;
    if (this.#before) this.#wipe = null;
    this.#update();
  }

  get before() {
    return this.#before;
  }

  get hasOriginal() {
    return this.#original !== null && this.#shown?.final === true;
  }

  /**
   * Show the original on the left and the head on show on the right of a divider; on: from the middle, off: no longer.
   * The wish outlives heads that are no change of another, which are shown whole.
   */
  setWiping(on) {
    this.#wipe = on ? WIPE_START : null;
    if (on) {
      this.#before = false;
      this.setComparing(false);
    }
    this.#update();
  }

  get canWipe() {
    return this.#original !== null && this.#shown !== this.#original && !this.#shown.original;
  }

  get wiping() {
    return this.#wipe !== null && this.canWipe && !this.#comparing;
  }

  /** Where the divider stands, as a share of the picture from the left. */
  get wipe() {
    return this.#wipe ?? WIPE_START;
  }

  set wipe(share) {
    const [low, high] = WIPE_LIMITS;
    this.#wipe = Math.min(Math.max(share, low), high);
    this.#events.changed();
    this.requestRender();
  }

  /** See the head as the photo's camera did, or from the camera that is moved by hand. */
  setComparing(on) {
    const comparing = on && this.#photo !== null && this.#shown !== null;
    if (comparing === this.#comparing) return;
    this.#comparing = comparing;
    this.#controls.enabled = !comparing;
    this.#update();
  }

  get comparing() {
    return this.#comparing;
  }

  /** Where the photo lies on the stage while it is compared with, CSS pixels: as letterbox returns. */
  get photoBox() {
    const { width_px, height_px } = this.#photo;
    const upright = this.#stage.width < 480 && this.#stage.height > 640;
    const insets = upright ? { ...PHOTO_INSETS, top: PHOTO_TOP_UPRIGHT_PX } : PHOTO_INSETS;
    return letterbox({ width: width_px, height: height_px }, this.#stage, insets);
  }

  // --------------------------------------------------------------------------------------------------- pictures

  /** Ask for a picture at the next frame. Nothing is drawn while nothing changes. */
  requestRender = () => {
    this.#shadowsDue = true;
    this.#requestView();
  };

  // The camera alone has moved.
  #requestView = () => {
    this.#dirty = true;
    this.#ask();
  };

  #ask() {
    if (this.#frame !== null) return;
    this.#asked_ms = performance.now();
    this.#frame = requestAnimationFrame(this.#onFrame);
  }

  /**
   * What is on the stage as a canvas of twice its size, without buttons. paintBehind(context, width, height) draws
   * what lies behind the head, in CSS pixels; opacity: the head's.
   */
  snapshot(paintBehind, opacity) {
    const { width, height } = this.#stage;
    const picture = document.createElement("canvas");
    picture.width = 2 * width;
    picture.height = 2 * height;
    const context = picture.getContext("2d");
    context.scale(2, 2);
    paintBehind(context, width, height);
    this.#applyShape(performance.now());
    this.#draw(2);
    context.globalAlpha = opacity;
    // In the task that drew it: afterwards the browser may have taken the picture away.
    context.drawImage(this.#renderer.domElement, 0, 0, width, height);
    this.#draw();
    return picture;
  }

  /**
   * For tests and measurements: pictures drawn so far, what the graphics card holds, and what the last picture took:
   * draw calls and triangles, shadows included. texture_bytes is an estimate, without the picture's own buffers.
   */
  get statistics() {
    const { geometries, textures } = this.#renderer.info.memory;
    const texture_bytes = [...this.#held].reduce((sum, head) => sum + textureBytes(head), this.#studio.textureBytes);
    return { pictures: this.#pictures, geometries, textures, heads: this.#held.size, texture_bytes, ...this.#cost };
  }

  /** Free everything. The viewer cannot be used afterwards. */
  dispose() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    clearTimeout(this.#restTimer);
    document.removeEventListener("visibilitychange", this.requestRender);
    this.#resizeObserver.disconnect();
    this.#controls.dispose();
    for (const head of this.#held) disposeHead(head);
    this.#surfaces.dispose();
    this.#studio.dispose();
    this.#renderer.dispose();
    this.#renderer.domElement.remove();
  }

  #update() {
    const visibles = this.#visibles.filter(Boolean);
    for (const head of this.#held) {
      head.root.visible = true;
      if (visibles.includes(head)) this.#scene.add(head.root);
      else head.root.removeFromParent();
    }
    for (const head of visibles) {
      this.#surfaces.dress(head, this.#style, this.#map);
      for (const skin of head.skins) setDetail(skin, this.#detail);
    }
    this.#events.changed();
    this.requestRender();
  }

  get #idling() {
    return this.#idle !== null && this.#shown !== null && !this.#comparing && !this.#before && !document.hidden;
  }

  #onFrame = (now_ms) => {
    this.#frame = null;
    this.#advance(now_ms);
    // Reports a change while damping still moves the camera, which asks for the next frame.
    if (!this.#comparing) this.#controls.update();
    this.#pace(now_ms - this.#asked_ms);
    if (this.#idling) this.#ask();
    if (!this.#dirty && !(this.#idling && now_ms - this.#drawn_ms >= IDLE_FRAME_MS)) return;
    this.#drawn_ms = now_ms;
    this.#dirty = false;
    if (this.#turn !== null) this.#requestView();
    if (this.#idling) this.#shadowsDue = true;
    this.#applyShape(now_ms);
    this.#draw();
  };

  // The next step of a turn to a new view.
  #advance(now_ms) {
    if (!this.#turn) return;
    const { from, to, fromTarget, target } = this.#turn;
    this.#turn.start_ms ??= now_ms;
    const share = Math.min(1, (now_ms - this.#turn.start_ms) / TURN_MS);
    const eased = 1 - (1 - share) ** 3;
    if (share === 1) this.#turn = null;
    this.#controls.target.lerpVectors(fromTarget, target, eased);
    this.#place(between(from, to, eased));
    this.#dirty = true;
  }

  // A graphics card that does not keep up lets the frames wait.
  #pace(waited_ms) {
    this.#slow = Math.max(0, this.#slow + (waited_ms > SLOW_FRAME_MS ? 1 : -1));
    if (this.#slow > SLOW_FRAMES && this.#coarseness < COARSENESS.length - 1) {
      this.#coarseness += 1;
      this.#slow = 0;
    }
    clearTimeout(this.#restTimer);
    this.#restTimer = setTimeout(() => {
      if (this.#coarseness === 0 || this.#frame !== null) return;
      this.#coarseness = 0;
      this.#slow = 0;
      this.#draw();
    }, REST_MS);
  }

  #applyShape(now_ms) {
    const head = this.#visible;
    if (!head) return;
    if (this.#before || this.#comparing) {
      // As in the file, what words have moved included.
      poseHead(head, { ...NEUTRAL, weights: head.words }, STRAIGHT, STRAIGHT, null);
      return;
    }
    const idle = this.#idling ? this.#idle.at(now_ms / 1000) : null;
    poseHead(head, this.#expression, this.#pose, this.#gaze, idle);
    // The same pose before the words: what hands have moved is no difference.
    if (this.wiping) {
      poseHead(this.#original, withoutWords(this.#expression, head.words), this.#pose, this.#gaze, idle);
    }
  }

  #draw(ratio = null) {
    if (this.#lost) return;
    const { width, height } = this.#stage;
    // Beyond 2 the eye sees no gain and phones pay for it.
    const full = Math.min(window.devicePixelRatio, poor() ? 1.5 : 2);
    const buffer = [width, height, ratio ?? full * COARSENESS[this.#coarseness]];
    // Setting a size, even the same one, makes the browser allocate the picture anew.
    if (this.#buffer !== buffer.join()) this.#renderer.setDrawingBufferSize(...buffer);
    this.#buffer = buffer.join();
    const { info, shadowMap } = this.#renderer;
    info.reset();
    shadowMap.needsUpdate ||= this.#shadowsDue;
    this.#shadowsDue = false;
    const camera = this.#comparing ? photoCamera(this.#photo, this.photoBox, this.#stage) : this.#camera;
    if (this.wiping) this.#drawWipe(camera);
    else this.#renderer.render(this.#scene, camera);
    this.#cost = { calls: info.render.calls, triangles: info.render.triangles };
    this.#pictures += 1;
  }

  // Each head in its part of the picture.
  #drawWipe(camera) {
    const { width, height } = this.#stage;
    const middle = Math.round(width * this.#wipe);
    this.#renderer.setScissorTest(true);
    for (const [head, left, right] of [
      [this.#original, 0, middle],
      [this.#shown, middle, width],
    ]) {
      for (const other of this.#visibles) other.root.visible = other === head;
      // Each head's own.
      this.#renderer.shadowMap.needsUpdate = true;
      this.#renderer.setScissor(left, 0, right - left, height);
      this.#renderer.render(this.#scene, camera);
    }
    this.#renderer.setScissorTest(false);
  }

  // ----------------------------------------------------------------------------------------------------- camera

  #place(view) {
    this.#camera.position.copy(this.#controls.target).add(offsetOf(view, this.#framed_m));
    this.#camera.lookAt(this.#controls.target);
  }

  #applyZoomLimits() {
    const size = this.#shown?.size ?? new THREE.Vector3(0.2, 0.3, 0.25);
    this.#framed_m = framingDistance(size, this.#camera.aspect);
    this.#controls.minDistance = this.#framed_m / ZOOM_RANGE[1];
    this.#controls.maxDistance = this.#framed_m / ZOOM_RANGE[0];
  }

  #onResize = () => {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (width === 0 || height === 0) return;
    const view = this.view;
    this.#stage = { width, height };
    this.#camera.aspect = width / height;
    this.#camera.setViewOffset(width, height, 0, LIFT_PX, width, height);
    this.#applyZoomLimits();
    // The same zoom in the new shape of the picture.
    this.#place(view);
    this.#events.changed();
    // Drawn at once: a new size clears the canvas.
    this.#draw();
  };

  #onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "r" || event.key === "R" || event.key === "Home") this.setView(FRONT, { smooth: true });
    else {
      // From where a turn under way will end, so that a held key does not stall.
      const to = steer(this.#turn?.to ?? this.view, event.key);
      if (to === null) return;
      this.setComparing(false);
      this.#turn = null;
      this.#place(to);
      this.#requestView();
    }
    event.preventDefault();
  };

  #tap = null;

  // Two taps, or clicks, at one place reset the view. `dblclick` does not come from every touch screen.
  #onTap = (event) => {
    const last = this.#tap;
    this.#tap = { time: event.timeStamp, x: event.clientX, y: event.clientY };
    if (last === null || event.timeStamp - last.time > TAP_MS) return;
    if (Math.hypot(event.clientX - last.x, event.clientY - last.y) > TAP_PX || this.#comparing) return;
    this.#tap = null;
    this.setView(FRONT, { smooth: true });
  };

  // ---------------------------------------------------------------------------------------------- lost and found

  #onLost = () => {
    this.#lost = true;
    this.#events.lost();
  };

  // three.js, which hears of it first, uploads heads again when they are drawn; what was rendered it cannot know.
  #onRestored = () => {
    this.#lost = false;
    this.#studio.restore();
    this.#events.restored();
    this.requestRender();
  };
}
