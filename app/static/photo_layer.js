// The photo behind the head: with its landmarks while it is being read, plain while it is compared with.

import { letterbox } from "./photo_camera.js";

const SVG = "http://www.w3.org/2000/svg";
const READING_INSETS = { top: 72, right: 24, bottom: 88, left: 24 };
// Radius of a landmark in CSS pixels, whatever the photo's size.
const POINT_PX = 1.6;
// How much of the frame the face fills while it is read, and how far a small face is enlarged at most.
const FACE_SHARE = 0.55;
const ENLARGE_LIMIT = 2.2;
// The points appear from the hair down within this time.
const SWEEP_S = 0.7;

/**
 * How a photo is moved within its frame so that the face is seen well: {scale, x, y}, the photo's shift in shares of
 * its size after enlarging about its top-left corner. The photo always fills the frame.
 */
export function closeUp(points_px, width_px, height_px) {
  if (points_px.length === 0) return { scale: 1, x: 0, y: 0 };
  const [x, y] = [0, 1].map((axis) => {
    const values = points_px.filter((_, index) => index % 2 === axis);
    return [Math.min(...values), Math.max(...values)];
  });
  const face = Math.max((x[1] - x[0]) / width_px, (y[1] - y[0]) / height_px);
  const scale = Math.min(Math.max(FACE_SHARE / face, 1), ENLARGE_LIMIT);
  const shift = ([low, high], size) => Math.min(0, Math.max(1 - scale, 0.5 - (scale * (low + high)) / 2 / size));
  return { scale, x: shift(x, width_px), y: shift(y, height_px) };
}

export class PhotoLayer {
  #stage;
  #frame = document.createElement("div");
  #content = document.createElement("div");
  #image = new Image();
  #points = document.createElementNS(SVG, "svg");
  #photo = null;
  // The photo that a head has taken the place of while it was being read.
  #putAway = null;

  /** stage: the element that the photo fills. */
  constructor(stage) {
    this.#stage = stage;
    this.#frame.id = "photo";
    this.#image.alt = "";
    this.#image.draggable = false;
    this.#points.setAttribute("aria-hidden", "true");
    this.#content.append(this.#image, this.#points);
    this.#frame.append(this.#content);
    stage.prepend(this.#frame);
    new ResizeObserver(() => this.layout(null)).observe(stage);
  }

  /** Take a set_photo message. */
  set(photo) {
    const before = this.#photo;
    this.#photo = photo.url === null ? null : photo;
    if (!photo.reading || photo.url !== this.#putAway) this.#putAway = null;
    if (this.#photo === null) {
      this.#image.removeAttribute("src");
    } else if (before?.url !== photo.url) {
      this.#image.src = photo.url;
    }
    if (before?.points_px.join() !== photo.points_px.join()) this.#drawPoints(photo);
    this.#show();
  }

  /** The first head is there: the photo that is being read gives way. */
  giveWay() {
    if (this.#photo?.reading) this.#putAway = this.#photo.url;
    this.#show();
  }

  /** Whether the photo stands where the head would be. */
  get reading() {
    return this.#photo !== null && this.#photo.reading && this.#putAway === null;
  }

  /** Lay the photo out: into `box` (as letterbox returns) to be compared with, or null to be read. */
  layout(box) {
    if (this.#photo === null) return;
    const stage = { width: this.#stage.clientWidth, height: this.#stage.clientHeight };
    if (box === null && !this.reading) return;
    const picture = { width: this.#photo.width_px || 1, height: this.#photo.height_px || 1 };
    const { left, top, width, height, scale } = box ?? letterbox(picture, stage, READING_INSETS);
    Object.assign(this.#frame.style, {
      left: `${left}px`,
      top: `${top}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    const close = box === null ? closeUp(this.#photo.points_px, picture.width, picture.height) : closeUp([], 1, 1);
    this.#content.style.transform = `translate(${close.x * 100}%, ${close.y * 100}%) scale(${close.scale})`;
    this.#points.style.setProperty("--radius", POINT_PX / scale / close.scale);
  }

  /** Draw the photo where it lies on the stage into a 2D context in CSS pixels. */
  paint(context, box) {
    if (this.#photo !== null) context.drawImage(this.#image, box.left, box.top, box.width, box.height);
  }

  #show() {
    this.#stage.classList.toggle("reading", this.reading);
    this.layout(null);
  }

  #drawPoints({ points_px, width_px, height_px }) {
    this.#points.setAttribute("viewBox", `0 0 ${width_px} ${height_px}`);
    const rows = points_px.filter((_, index) => index % 2 === 1);
    const top = Math.min(...rows);
    const reach = Math.max(...rows) - top || 1;
    const circles = rows.map((y, index) => {
      const circle = document.createElementNS(SVG, "circle");
      circle.setAttribute("cx", points_px[2 * index]);
      circle.setAttribute("cy", y);
      circle.style.animationDelay = `${(((y - top) / reach) * SWEEP_S).toFixed(3)}s`;
      return circle;
    });
    this.#points.replaceChildren(...circles);
  }
}
