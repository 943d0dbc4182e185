// A map laid flat over the stage, to be looked at closely: zoom with wheel, pinch or keys, move by dragging or arrows.

const ZOOM_LIMITS = [0.8, 32];
const WHEEL_ZOOM = 0.0016;
const KEY_ZOOM = 1.25;
const KEY_PAN = 0.1;
// Texels stand out as squares from here on, in screen pixels a texel.
const CRISP = 3;
// Around the whole picture; above and below there is room for the bar.
const MARGIN_PX = { x: 24, y: 66 };

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The whole picture in the middle: {x, y} the picture's point in the middle of the stage, 0..1; zoom 1 is this. */
export const WHOLE = { x: 0.5, y: 0.5, zoom: 1 };

/** Screen pixels along the picture's longer side at zoom 1. */
export const fitted = (stage, picture) =>
  Math.max(picture.width, picture.height) *
  Math.min((stage.width - 2 * MARGIN_PX.x) / picture.width, (stage.height - 2 * MARGIN_PX.y) / picture.height);

/** Where the picture lies on the stage, in its pixels: {left, top, width, height}. */
export function placeOf(view, stage, picture) {
  const scale = (view.zoom * fitted(stage, picture)) / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  return { left: stage.width / 2 - view.x * width, top: stage.height / 2 - view.y * height, width, height };
}

/** A view that keeps within the picture. */
export const limited = ({ x, y, zoom }) => ({
  x: clamp(x, 0, 1),
  y: clamp(y, 0, 1),
  zoom: clamp(zoom, ...ZOOM_LIMITS),
});

/** Move by pixels of the stage: what was under a finger stays under it. */
export function panned(view, stage, picture, dx, dy) {
  const { width, height } = placeOf(view, stage, picture);
  return limited({ ...view, x: view.x - dx / width, y: view.y - dy / height });
}

/** Zoom around a point of the stage: what lies there stays there. */
export function zoomed(view, stage, picture, factor, point) {
  const zoom = clamp(view.zoom * factor, ...ZOOM_LIMITS);
  const before = placeOf(view, stage, picture);
  const [across, down] = [point.x - stage.width / 2, point.y - stage.height / 2];
  const growth = zoom / view.zoom;
  return limited({
    x: view.x + (across / before.width) * (1 - 1 / growth),
    y: view.y + (down / before.height) * (1 - 1 / growth),
    zoom,
  });
}

/** The view that a key leads to, or null. */
export function keyed(view, key) {
  const step = KEY_PAN / view.zoom;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (key in moves) return limited({ ...view, x: view.x + moves[key][0], y: view.y + moves[key][1] });
  if (key === "+" || key === "=") return limited({ ...view, zoom: view.zoom * KEY_ZOOM });
  if (key === "-" || key === "_") return limited({ ...view, zoom: view.zoom / KEY_ZOOM });
  if (key === "0" || key === "Home") return WHOLE;
  return null;
}

export class Atlas {
  #element;
  // In the page only while a map lies there.
  #canvas = document.createElement("canvas");
  #picture = null;
  #view = WHOLE;
  #pointers = new Map();

  /** element: #atlas of index.html. closed: called when a person closes it. */
  constructor(element, closed) {
    this.#element = element;
    this.#canvas.tabIndex = 0;
    this.#canvas.setAttribute("role", "application");
    this.#canvas.setAttribute("aria-roledescription", "map");
    this.#canvas.setAttribute("aria-describedby", "atlas-help");
    element.querySelector("[data-atlas=close]").addEventListener("click", closed);
    const middle = () => ({ x: this.#stage.width / 2, y: this.#stage.height / 2 });
    const press = (action, change) =>
      element.querySelector(`[data-atlas=${action}]`).addEventListener("click", () => this.#move(change()));
    press("in", () => zoomed(this.#view, this.#stage, this.#picture, KEY_ZOOM, middle()));
    press("out", () => zoomed(this.#view, this.#stage, this.#picture, 1 / KEY_ZOOM, middle()));
    press("whole", () => WHOLE);
    this.#canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const view = keyed(this.#view, event.key);
      if (view === null) return;
      event.preventDefault();
      this.#move(view);
    });
    this.#canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        // In lines or pages, from a mouse of Firefox.
        const pixels = event.deltaY * [1, 30, 300][event.deltaMode];
        this.#move(zoomed(this.#view, this.#stage, this.#picture, Math.exp(-pixels * WHEEL_ZOOM), this.#point(event)));
      },
      { passive: false },
    );
    this.#canvas.addEventListener("pointerdown", (event) => {
      this.#canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, this.#point(event));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.#canvas.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    }
    this.#canvas.addEventListener("pointermove", (event) => this.#drag(event));
    this.#canvas.addEventListener("dblclick", () => this.#move(WHOLE));
    new ResizeObserver(() => this.#draw()).observe(element);
  }

  get open() {
    return !this.#element.hidden;
  }

  get view() {
    return this.#view;
  }

  /** Show a canvas under a name. It is seen whole at first; another map of the same head is seen at the same place. */
  show(picture, name) {
    if (!this.open) this.#view = WHOLE;
    this.#picture = picture;
    if (!this.open) this.#element.prepend(this.#canvas);
    this.#element.hidden = false;
    this.#element.querySelector(".name").textContent = name;
    this.#element.setAttribute("aria-label", `${name}, laid flat`);
    this.#canvas.setAttribute("aria-label", `${name}, ${picture.width} by ${picture.height} texels`);
    this.#draw();
  }

  focus() {
    this.#canvas.focus();
  }

  close() {
    this.#element.hidden = true;
    this.#canvas.remove();
    this.#picture = null;
    this.#pointers.clear();
  }

  get #stage() {
    return { width: this.#element.clientWidth, height: this.#element.clientHeight };
  }

  #point({ clientX, clientY }) {
    const { left, top } = this.#element.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }

  // One pointer moves the picture, two move and zoom it.
  #drag(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before || !this.#picture) return;
    const now = this.#point(event);
    this.#pointers.set(event.pointerId, now);
    const share = 1 / this.#pointers.size;
    let view = panned(this.#view, this.#stage, this.#picture, (now.x - before.x) * share, (now.y - before.y) * share);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const [was, is] = [before, now].map((point) => Math.hypot(point.x - other.x, point.y - other.y));
      const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
      if (was > 0) view = zoomed(view, this.#stage, this.#picture, is / was, middle);
    }
    this.#move(view);
  }

  #move(view) {
    this.#view = view;
    this.#draw();
  }

  #draw() {
    if (!this.#picture) return;
    const stage = this.#stage;
    const ratio = Math.min(window.devicePixelRatio, 2);
    const [width, height] = [stage.width, stage.height].map((side) => Math.max(1, Math.round(side * ratio)));
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, stage.width, stage.height);
    const place = placeOf(this.#view, stage, this.#picture);
    context.imageSmoothingEnabled = place.width / this.#picture.width < CRISP;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#picture, place.left, place.top, place.width, place.height);
    const percent = Math.round((100 * place.width) / this.#picture.width);
    this.#element.querySelector("output").textContent = `${percent} %`;
  }
}
