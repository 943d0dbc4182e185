// The three.js viewer: one class that owns the head on show, its camera, lights and tone mapping.
//
// Conventions are those of core/__init__.py: right-handed, +Y up, the face looks towards +Z, metres. Angles that
// arrive in messages are degrees. Nothing here knows about Gradio: `main.js` connects a Viewer to the page.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { RoomEnvironment } from "three/addons/environments/RoomEnvironment.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

// A portrait lens: about 85 mm on full frame. Wider ones swell the nose.
const FIELD_OF_VIEW_DEG = 16;
// How much of the picture's smaller side the head fills at zoom 1, and how far it is lifted for the toolbar below it.
const FILL = 0.83;
const LIFT_PX = 20;
const ZOOM_RANGE = [0.6, 6];
const PITCH_RANGE_DEG = [-50, 60];
// Strength of the room's reflections. The rest of the light comes from the three lamps, so that faces have modelling.
const ROOM_INTENSITY = 0.36;
// Share of the head's turn that the neck takes, as in people.
const NECK_SHARE = 0.4;
// How light falls off into the mouth: the share that arrives at its back and at its front.
const MOUTH_LIGHT = [0.1, 0.95];
// The cut edge of the neck recedes into the dark: the share of light there, and the height of the fade in metres.
const NECK_LIGHT = 0.08;
const NECK_FADE_M = 0.06;
// About how far an ARKit eyeLook shape turns the eyeball at weight 1.
const FULL_LOOK_DEG = 25;

const degToRad = THREE.MathUtils.degToRad;

export class Viewer {
  #renderer;
  #scene = new THREE.Scene();
  #camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW_DEG, 1, 0.05, 20);
  #controls;
  #lamps = new THREE.Group();
  #environment;
  #loader = new GLTFLoader();
  #resizeObserver;
  #frame = null;
  #clay = new THREE.MeshStandardMaterial({ name: "clay", color: 0xb9b2aa, roughness: 0.62 });
  // What is seen through the open neck: the inside of skin and mouth, which are drawn from their fronts alone. Lit like
  // their fronts, back faces would show as dots and outlines where they stand edge-on behind the skin, because
  // renderers without hardware multisampling get the depth of such faces wrong by a sample.
  #inside = new THREE.MeshBasicMaterial({
    color: 0x120a08,
    side: THREE.BackSide,
    shadowSide: THREE.BackSide,
    // Far enough back that it does not show as an outline either.
    polygonOffset: true,
    polygonOffsetFactor: 8,
    polygonOffsetUnits: 64,
  });
  // The edges over a dark surface that hides those behind it.
  #wire = [
    new THREE.MeshStandardMaterial({ color: 0x3a3733, roughness: 0.8, polygonOffset: true, polygonOffsetFactor: 1 }),
    new THREE.MeshBasicMaterial({ color: 0xe8a87c, wireframe: true }),
  ];

  // The head on show: { root, bytes, fileName, final, meshes, materials, bones, restRotations, ownWeights, size, centre }.
  #head = null;
  // The final head that a first one has taken the place of.
  #before = null;
  #loads = 0;
  #expression = { weights: {}, own: true };
  #pose = { yaw_deg: 0, pitch_deg: 0, roll_deg: 0 };
  #gaze = { yaw_deg: 0, pitch_deg: 0 };
  #style = "textured";

  /** Draw into `container` (an element with a size). Throws an Error with a sentence where WebGL is not available. */
  constructor(container) {
    this.container = container;
    try {
      this.#renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
    } catch (error) {
      throw new Error(
        "This browser cannot draw 3D pictures: WebGL 2 is switched off or missing. " +
          "Switch on hardware acceleration in its settings, or use another browser.",
        { cause: error },
      );
    }
    // Khronos' neutral tone mapping leaves base colours as they are below the highlights: skin keeps its tone.
    this.#renderer.toneMapping = THREE.NeutralToneMapping;
    this.#renderer.toneMappingExposure = 1;
    this.#renderer.shadowMap.enabled = true;
    this.#renderer.shadowMap.type = THREE.PCFShadowMap;
    // Beyond 2 the eye sees no gain and phones pay for it.
    this.#renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));

    const canvas = this.#renderer.domElement;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "The 3D head. Drag or use the arrow keys to turn it, plus and minus to zoom.");
    canvas.addEventListener("keydown", this.#onKey);
    canvas.addEventListener("webglcontextrestored", this.requestRender);
    container.append(canvas);

    this.#controls = new OrbitControls(this.#camera, canvas);
    this.#controls.enableDamping = true;
    this.#controls.dampingFactor = 0.12;
    this.#controls.enablePan = false;
    this.#controls.rotateSpeed = 0.7;
    this.#controls.minPolarAngle = degToRad(90 - PITCH_RANGE_DEG[1]);
    this.#controls.maxPolarAngle = degToRad(90 - PITCH_RANGE_DEG[0]);
    this.#controls.addEventListener("change", this.requestRender);

    this.#buildStudio();
    this.#resizeObserver = new ResizeObserver(this.#onResize);
    this.#resizeObserver.observe(container);
    this.#onResize();
    this.setView({ yaw_deg: 0, pitch_deg: 0, zoom: 1 });
  }

  /**
   * Show a GLB. The head on show stays until the new one is ready, and stays when loading fails (the promise rejects
   * with a sentence). The camera moves only for the first head. Resolves to {triangles, morphs, joints}, or to null
   * when a later call has overtaken this one.
   */
  async loadHead({ url, file_name, final }) {
    const turn = ++this.#loads;
    let bytes, gltf;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      bytes = await response.arrayBuffer();
      // A copy, because the bytes stay here for saving.
      gltf = await this.#loader.parseAsync(bytes.slice(0), "");
    } catch (error) {
      if (turn !== this.#loads) return null;
      throw new Error(
        `The head could not be shown (${error.message}). Make it again; if that fails, reload the page.`,
        {
          cause: error,
        },
      );
    }
    if (turn !== this.#loads) {
      disposeTree(gltf.scene);
      return null;
    }
    const head = this.#adopt(gltf.scene, bytes, file_name, final);
    if (final) {
      // Only a final head can be returned to.
      this.#release(this.#before);
      this.#release(this.#head);
      this.#before = null;
    } else if (this.#head?.final) {
      this.#before = this.#head;
    } else {
      this.#release(this.#head);
    }
    this.#show(head);
    return this.#describe();
  }

  /** A first head will not be finished: return to the final one before it, if there is one. */
  dropFirst() {
    // A first head that is still on its way does not arrive.
    ++this.#loads;
    if (this.#before === null) return;
    const first = this.#head;
    const before = this.#before;
    this.#before = null;
    this.#show(before);
    this.#release(first);
  }

  /** Morph weights by ARKit name; see SetExpression in app/protocol.py. */
  setExpression({ weights, own }) {
    this.#expression = { weights, own };
    this.#applyShape();
  }

  /** Turn the head on its neck, degrees. */
  setPose({ yaw_deg, pitch_deg, roll_deg }) {
    this.#pose = { yaw_deg, pitch_deg, roll_deg };
    this.#applyShape();
  }

  /** Turn both eyes, degrees, with the lids where the head has eyeLook shapes, else by the eye bones alone. */
  setGaze({ yaw_deg, pitch_deg }) {
    this.#gaze = { yaw_deg, pitch_deg };
    this.#applyShape();
  }

  /** Place the camera, degrees; zoom 1 frames the head. */
  setView({ yaw_deg, pitch_deg, zoom }) {
    const yaw = degToRad(yaw_deg);
    const pitch = degToRad(THREE.MathUtils.clamp(pitch_deg, ...PITCH_RANGE_DEG));
    const distance = this.#framingDistance() / THREE.MathUtils.clamp(zoom, ...ZOOM_RANGE);
    // What is left of a drag's momentum would carry the camera past its place: without damping, update() uses it up.
    this.#controls.enableDamping = false;
    this.#controls.update();
    this.#camera.position
      .set(Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch), Math.cos(yaw) * Math.cos(pitch))
      .multiplyScalar(distance)
      .add(this.#controls.target);
    this.#controls.update();
    this.#controls.enableDamping = true;
    this.requestRender();
  }

  /** Turn the studio around the head (degrees) and set the exposure (1 is neutral). */
  setLight({ yaw_deg, exposure }) {
    this.#lamps.rotation.y = degToRad(yaw_deg);
    this.#scene.environmentRotation.set(0, degToRad(yaw_deg), 0);
    this.#renderer.toneMappingExposure = exposure;
    this.requestRender();
  }

  /** "textured", "clay" or "wireframe". Throws for another name. */
  setStyle({ style }) {
    if (!["textured", "clay", "wireframe"].includes(style)) {
      throw new TypeError(`The viewer has no style ${JSON.stringify(style)}; it has textured, clay and wireframe.`);
    }
    this.#style = style;
    this.#applyStyle();
    this.requestRender();
  }

  /** The GLB on show as it came from the server: {fileName, bytes}, or null before a final head is there. */
  get saved() {
    return this.#head?.final ? { fileName: this.#head.fileName, bytes: this.#head.bytes } : null;
  }

  /** Ask for a picture at the next frame. Nothing is drawn while nothing changes. */
  requestRender = () => {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#render();
    });
  };

  /** Free everything. The viewer cannot be used afterwards. */
  dispose() {
    ++this.#loads;
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#resizeObserver.disconnect();
    this.#controls.dispose();
    this.#release(this.#before);
    this.#release(this.#head);
    this.#clay.dispose();
    this.#inside.dispose();
    for (const material of this.#wire) material.dispose();
    this.#environment.dispose();
    for (const light of this.#lamps.children) light.dispose?.();
    this.#renderer.dispose();
    this.#renderer.domElement.remove();
  }

  // A portrait studio: a soft warm key from the upper left of the picture, a weak fill opposite, a cool rim behind, and
  // a neutral room for what eyes and skin reflect.
  #buildStudio() {
    const generator = new THREE.PMREMGenerator(this.#renderer);
    const room = new RoomEnvironment();
    this.#environment = generator.fromScene(room, 0.03);
    room.dispose();
    generator.dispose();
    this.#scene.environment = this.#environment.texture;
    this.#scene.environmentIntensity = ROOM_INTENSITY;

    const key = this.#addLamp(0xfff1e2, 1.9, [-0.9, 0.95, 1.5]);
    // A face in the light of one lamp alone has shadows softer than a shadow map's: skin scatters light into them.
    this.#castShadow(key, 0.6);
    this.#addLamp(0xe4ecff, 0.3, [1.4, 0.2, 1.1]);
    const rim = this.#addLamp(0xdfe8ff, 1.3, [0.9, 0.8, -1.4]);
    // Or it would shine through the head into the mouth.
    this.#castShadow(rim, 1);
    this.#scene.add(this.#lamps);
  }

  #addLamp(color, intensity, position) {
    const lamp = new THREE.DirectionalLight(color, intensity);
    lamp.position.set(...position);
    this.#lamps.add(lamp, lamp.target);
    return lamp;
  }

  #castShadow(lamp, intensity) {
    lamp.castShadow = true;
    lamp.shadow.mapSize.set(1024, 1024);
    lamp.shadow.radius = 9;
    lamp.shadow.bias = -0.0006;
    lamp.shadow.normalBias = 0.004;
    lamp.shadow.intensity = intensity;
    // Metres around the middle of the head.
    const reach = 0.25;
    Object.assign(lamp.shadow.camera, { left: -reach, right: reach, top: reach, bottom: -reach, near: 1, far: 3 });
  }

  // What the viewer needs to know about a loaded scene.
  #adopt(root, bytes, fileName, final) {
    const head = { root, bytes, fileName, final, meshes: [], materials: new Map(), bones: new Map() };
    head.ownWeights = new Map();
    head.restRotations = new Map();
    root.updateMatrixWorld(true);
    root.traverse((object) => {
      if (object.isBone) {
        head.bones.set(object.name, object);
        head.restRotations.set(object, object.quaternion.clone());
      }
      if (!object.isMesh) return;
      head.meshes.push(object);
      head.materials.set(object, object.material);
      // With a list of two materials, both draw everything.
      object.geometry.addGroup(0, Infinity, 0);
      object.geometry.addGroup(0, Infinity, 1);
      head.ownWeights.set(object, [...(object.morphTargetInfluences ?? [])]);
      // Expressions leave the bounds of the rest pose; a head is never worth culling.
      object.frustumCulled = false;
      object.castShadow = !object.material.transparent && !object.material.alphaTest;
      object.receiveShadow = true;
      for (const texture of Object.values(object.material)) {
        if (texture?.isTexture) texture.anisotropy = this.#renderer.capabilities.getMaxAnisotropy();
      }
    });
    shadeCavities(head);
    // The rest geometry, not Box3.setFromObject, which adds every morph at once.
    const box = new THREE.Box3();
    const point = new THREE.Vector3();
    for (const mesh of head.meshes) {
      const position = mesh.geometry.attributes.position;
      for (let i = 0; i < position.count; i++) {
        box.expandByPoint(point.fromBufferAttribute(position, i).applyMatrix4(mesh.matrixWorld));
      }
    }
    head.size = box.getSize(new THREE.Vector3());
    head.centre = box.getCenter(new THREE.Vector3());
    return head;
  }

  #show(head) {
    const opening = this.#head === null;
    if (this.#head) this.#scene.remove(this.#head.root);
    this.#head = head;
    this.#scene.add(head.root);
    this.#applyStyle();
    this.#applyShape();
    this.#frameHead(opening);
  }

  #release(head) {
    if (!head) return;
    this.#scene.remove(head.root);
    restoreMaterials(head);
    disposeTree(head.root);
  }

  #describe() {
    const morphs = new Set();
    let triangles = 0;
    for (const mesh of this.#head.meshes) {
      Object.keys(mesh.morphTargetDictionary ?? {}).forEach((name) => morphs.add(name));
      triangles += (mesh.geometry.index ?? mesh.geometry.attributes.position).count / 3;
    }
    return { triangles, morphs: [...morphs], joints: [...this.#head.bones.keys()] };
  }

  // Expression, gaze and pose together: where the head has eyeLook shapes, a gaze is morphs like any other.
  #applyShape() {
    if (!this.#head) return;
    const weights = { ...this.#expression.weights };
    const looks = this.#head.meshes.some((mesh) => mesh.morphTargetDictionary?.eyeLookOutLeft !== undefined);
    for (const [name, weight] of Object.entries(looks ? lookWeights(this.#gaze) : {})) {
      weights[name] = (weights[name] ?? 0) + weight;
    }
    for (const mesh of this.#head.meshes) {
      const own = this.#head.ownWeights.get(mesh);
      for (const [name, index] of Object.entries(mesh.morphTargetDictionary ?? {})) {
        const base = this.#expression.own ? own[index] : 0;
        mesh.morphTargetInfluences[index] = THREE.MathUtils.clamp(base + (weights[name] ?? 0), 0, 1);
      }
    }
    const { yaw_deg, pitch_deg, roll_deg } = this.#pose;
    this.#turn("neck", yaw_deg * NECK_SHARE, pitch_deg * NECK_SHARE, roll_deg * NECK_SHARE);
    this.#turn("head", yaw_deg * (1 - NECK_SHARE), pitch_deg * (1 - NECK_SHARE), roll_deg * (1 - NECK_SHARE));
    const gaze = looks ? { yaw_deg: 0, pitch_deg: 0 } : this.#gaze;
    for (const eye of ["leftEye", "rightEye"]) this.#turn(eye, gaze.yaw_deg, gaze.pitch_deg, 0);
    this.requestRender();
  }

  // Joints rest axis-aligned with the head frame, so Euler angles in it are rotations about its own axes. Yaw is
  // outermost: a turned head nods about its own ears.
  #turn(joint, yaw_deg, pitch_deg, roll_deg) {
    const bone = this.#head.bones.get(joint);
    if (!bone) return;
    const euler = new THREE.Euler(degToRad(pitch_deg), degToRad(yaw_deg), degToRad(roll_deg), "YXZ");
    bone.quaternion.copy(this.#head.restRotations.get(bone)).multiply(new THREE.Quaternion().setFromEuler(euler));
  }

  #applyStyle() {
    if (!this.#head) return;
    restoreMaterials(this.#head);
    const replacement = { clay: this.#clay, wireframe: this.#wire }[this.#style];
    for (const mesh of this.#head.meshes) {
      // Lashes are pictures on sheets: as clay they would be planks.
      mesh.visible = !replacement || mesh.castShadow;
      if (replacement) mesh.material = replacement;
      else if (["skin", "mouth"].includes(mesh.material.name)) {
        mesh.material.side = THREE.FrontSide;
        mesh.material = [mesh.material, this.#inside];
      }
    }
  }

  // Keep the camera's direction and relative zoom when a head of another size arrives.
  #frameHead(opening) {
    const zoom = opening ? 1 : this.#framedDistance / this.#camera.position.distanceTo(this.#controls.target);
    const direction = this.#camera.position.clone().sub(this.#controls.target).normalize();
    this.#controls.target.copy(this.#head.centre);
    this.#lamps.position.copy(this.#head.centre);
    this.#applyZoomLimits();
    this.#camera.position
      .copy(direction)
      .multiplyScalar(this.#framedDistance / zoom)
      .add(this.#controls.target);
    this.#controls.update();
    this.requestRender();
  }

  #framedDistance = 1;

  // The distance at which the head, from any side, fills FILL of the picture.
  #framingDistance() {
    const size = this.#head?.size ?? new THREE.Vector3(0.2, 0.3, 0.25);
    const halfTan = Math.tan(degToRad(FIELD_OF_VIEW_DEG) / 2);
    const height = size.y / 2 / halfTan;
    const width = Math.max(size.x, size.z) / 2 / (halfTan * this.#camera.aspect);
    return Math.max(height, width) / FILL;
  }

  #applyZoomLimits() {
    this.#framedDistance = this.#framingDistance();
    this.#controls.minDistance = this.#framedDistance / ZOOM_RANGE[1];
    this.#controls.maxDistance = this.#framedDistance / ZOOM_RANGE[0];
  }

  #onResize = () => {
    const { clientWidth, clientHeight } = this.container;
    if (clientWidth === 0 || clientHeight === 0) return;
    const before = this.#framedDistance;
    this.#renderer.setSize(clientWidth, clientHeight, false);
    this.#camera.aspect = clientWidth / clientHeight;
    this.#camera.setViewOffset(clientWidth, clientHeight, 0, LIFT_PX, clientWidth, clientHeight);
    this.#applyZoomLimits();
    // The same zoom in the new shape of the picture.
    const offset = this.#camera.position.clone().sub(this.#controls.target);
    this.#camera.position.copy(this.#controls.target).addScaledVector(offset, this.#framedDistance / before);
    // Drawn at once: setSize has cleared the canvas.
    this.#render();
  };

  #onKey = (event) => {
    const offset = this.#camera.position.clone().sub(this.#controls.target);
    const spherical = new THREE.Spherical().setFromVector3(offset);
    let yaw_deg = THREE.MathUtils.radToDeg(spherical.theta);
    let pitch_deg = 90 - THREE.MathUtils.radToDeg(spherical.phi);
    let zoom = this.#framedDistance / spherical.radius;
    if (event.key === "ArrowLeft") yaw_deg -= 10;
    else if (event.key === "ArrowRight") yaw_deg += 10;
    else if (event.key === "ArrowUp") pitch_deg += 10;
    else if (event.key === "ArrowDown") pitch_deg -= 10;
    else if (event.key === "+" || event.key === "=") zoom *= 1.15;
    else if (event.key === "-") zoom /= 1.15;
    else return;
    event.preventDefault();
    this.setView({ yaw_deg, pitch_deg, zoom });
  };

  #render() {
    // update() reports a change while damping still moves the camera, which asks for the next frame.
    this.#controls.update();
    this.#renderer.render(this.#scene, this.#camera);
  }
}

// ARKit's eyeLook shapes for a gaze: eyeballs, lids and the skin around them.
function lookWeights({ yaw_deg, pitch_deg }) {
  const left = Math.min(Math.max(yaw_deg, 0) / FULL_LOOK_DEG, 1);
  const right = Math.min(Math.max(-yaw_deg, 0) / FULL_LOOK_DEG, 1);
  const down = Math.min(Math.max(pitch_deg, 0) / FULL_LOOK_DEG, 1);
  const up = Math.min(Math.max(-pitch_deg, 0) / FULL_LOOK_DEG, 1);
  return {
    eyeLookOutLeft: left,
    eyeLookInRight: left,
    eyeLookInLeft: right,
    eyeLookOutRight: right,
    eyeLookDownLeft: down,
    eyeLookDownRight: down,
    eyeLookUpLeft: up,
    eyeLookUpRight: up,
  };
}

// Occlusion that no lamp's shadow gives, as vertex colours, which multiply the base colour: the mouth darkens towards
// the throat, the neck towards its cut edge.
function shadeCavities(head) {
  const { lerp, smoothstep } = THREE.MathUtils;
  // Of the rest shape alone: morphs are not in `position`.
  const boxOf = (mesh) => new THREE.Box3().setFromBufferAttribute(mesh.geometry.attributes.position);
  const mouthParts = head.meshes.filter((mesh) => ["mouth", "teeth", "tongue"].includes(mesh.material.name));
  const mouth = new THREE.Box3();
  for (const mesh of mouthParts) mouth.union(boxOf(mesh));
  for (const mesh of mouthParts) {
    shadeVertices(mesh, ({ z }) => lerp(...MOUTH_LIGHT, smoothstep(z, mouth.min.z, mouth.max.z)));
  }
  for (const mesh of head.meshes.filter((mesh) => mesh.material.name === "skin")) {
    const edge = boxOf(mesh).min.y;
    shadeVertices(mesh, ({ y }) => lerp(NECK_LIGHT, 1, smoothstep(y, edge, edge + NECK_FADE_M)));
  }
}

function shadeVertices(mesh, shade) {
  const { position } = mesh.geometry.attributes;
  const colors = new Float32Array(3 * position.count);
  const point = new THREE.Vector3();
  for (let i = 0; i < position.count; i++) {
    colors.fill(shade(point.fromBufferAttribute(position, i)), 3 * i, 3 * i + 3);
  }
  mesh.geometry.setAttribute("color", new THREE.BufferAttribute(colors, 3));
  mesh.material.vertexColors = true;
}

function restoreMaterials(head) {
  for (const [mesh, material] of head.materials) {
    mesh.material = material;
    mesh.visible = true;
  }
}

// Free what a loaded scene holds on the GPU: three.js frees nothing by itself.
function disposeTree(root) {
  root.traverse((object) => {
    object.skeleton?.dispose();
    if (!object.isMesh) return;
    object.geometry.dispose();
    for (const value of Object.values(object.material)) {
      if (value?.isTexture) {
        value.source.data?.close?.();
        value.dispose();
      }
    }
    object.material.dispose();
  });
}
