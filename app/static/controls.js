// What the panels are built of. Every control is a native one with a label; the round pads are a second way to two
// sliders, for fingers and mice. Each is {element, refresh}: `refresh` shows what `read` says.

export const percent = (value) => `${Math.round(100 * value)} %`;
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** An element: properties that start with "aria-" or "data-" become attributes, the others are set. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(aria|data)-/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/**
 * A labelled slider whose number is the button that resets it. read, write: of the value; show: the value in words.
 * free, release: whether there is nothing to reset, and how to; without them, `rest` is where it rests. zero: from where
 * the track is filled. colours: CSS colours, separated by commas, along the track instead.
 */
export function slider(options) {
  const { key, label, low, high, step, rest = 0, zero = rest, read, write, show, colours = () => "" } = options;
  const { free = () => Math.abs(read() - rest) < step / 2, release = () => write(rest) } = options;
  const id = `likeness-${key}-range`;
  const range = make("input", { type: "range", id, min: low, max: high, step });
  const number = make("button", { type: "button", className: "number" });
  range.addEventListener("input", () => write(Number(range.value)));
  range.addEventListener("dblclick", release);
  range.addEventListener("keydown", (event) => {
    if (event.key !== "Delete" && event.key !== "Backspace") return;
    event.preventDefault();
    release();
  });
  number.addEventListener("click", () => {
    release();
    // The button is about to be disabled, which would throw the focus away.
    range.focus();
  });
  const element = make("div", { className: "slider", id: `likeness-${key}` });
  element.append(make("label", { htmlFor: id, textContent: label }), range, number);
  const share = (value) => (100 * (value - low)) / (high - low);
  const refresh = () => {
    const value = read();
    const text = show(value);
    range.value = value;
    range.setAttribute("aria-valuetext", text);
    number.textContent = text;
    number.disabled = free();
    number.title = number.disabled ? "" : `Reset ${label}`;
    number.setAttribute("aria-label", number.disabled ? `${label}: ${text}` : `Reset ${label}, now ${text}`);
    element.style.setProperty("--from", `${share(Math.min(value, zero))}%`);
    element.style.setProperty("--to", `${share(Math.max(value, zero))}%`);
    element.classList.toggle("free", number.disabled);
    element.classList.toggle("coloured", colours() !== "");
    element.style.setProperty("--colours", colours());
  };
  return { element, refresh };
}

/** A pad to drag in two directions at once. read, write: (x, y) in -1..1, y downwards. For pointers only: see above. */
export function pad({ className, read, write, reset }) {
  const knob = make("span", { className: "knob" });
  const element = make(
    "div",
    { className: `pad ${className}`, "aria-hidden": "true", title: "Drag; double-click to reset" },
    knob,
  );
  const drag = (event) => {
    const box = element.getBoundingClientRect();
    const x = (2 * (event.clientX - box.left)) / box.width - 1;
    const y = (2 * (event.clientY - box.top)) / box.height - 1;
    write(clamp(x, -1, 1), clamp(y, -1, 1));
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    drag(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) drag(event);
  });
  element.addEventListener("dblclick", reset);
  const refresh = () => {
    const [x, y, behind = false] = read();
    element.style.setProperty("--x", x);
    element.style.setProperty("--y", y);
    element.classList.toggle("behind", behind);
  };
  return { element, refresh };
}

/**
 * One of several, as a row of buttons. options: value -> label. missing: of a value, why it cannot be chosen, or "".
 * picture: of a value, an element above its label.
 */
export function choice({ key, legend, options, read, write, missing = () => "", picture = null }) {
  const element = make(
    "fieldset",
    { className: picture ? "choice pictured" : "choice", id: `likeness-${key}` },
    make("legend", { textContent: legend }),
  );
  const entries = Object.entries(options).map(([value, label]) => {
    const radio = make("input", { type: "radio", name: `likeness-${key}`, value });
    radio.addEventListener("change", () => write(value));
    const whole = make("label", {}, radio, make("span", {}, ...(picture ? [picture(value)] : []), label));
    element.append(whole);
    return { radio, whole };
  });
  const refresh = () => {
    for (const { radio, whole } of entries) {
      const reason = missing(radio.value);
      radio.checked = radio.value === read();
      radio.disabled = reason !== "";
      whole.title = reason;
    }
  };
  return { element, refresh };
}

/** A file of the visitor's own. accept: as of an input; take: of a File. */
export function fileChoice({ key, label, accept, take }) {
  const input = make("input", { type: "file", id: `likeness-${key}-file`, accept });
  input.addEventListener("change", () => {
    const [file] = input.files;
    // The same file once more is a choice, too.
    input.value = "";
    if (file) take(file);
  });
  return still(
    make("label", { className: "file", id: `likeness-${key}` }, input, make("span", { textContent: label })),
  );
}

export function checkbox({ key, label, hint = "", read, write }) {
  const box = make("input", { type: "checkbox", id: `likeness-${key}-box` });
  box.addEventListener("change", () => write(box.checked));
  const text = make("span", {}, label, ...(hint ? [make("small", { textContent: hint })] : []));
  const element = make("label", { className: "check", id: `likeness-${key}` }, box, text);
  return { element, refresh: () => (box.checked = read()) };
}

export const button = (label, act, properties = {}) => {
  const element = make("button", { type: "button", textContent: label, ...properties });
  element.addEventListener("click", act);
  return element;
};
export const still = (element) => ({ element, refresh: () => {} });
export const heading = (text) => still(make("h2", { textContent: text }));
export const note = (text) => still(make("p", { className: "note", textContent: text }));

/**
 * Controls that can be folded away. open: title -> whether it is open, of the groups that a person has opened or closed.
 * first: whether it is open before that, by default not on a phone, where the headings alone fill the screen. count:
 * what is said beside the title.
 */
export function group({ title, controls, open, count, first = matchMedia("(width > 900px)").matches }) {
  const said = make("span", { className: "count" });
  const element = make("details", {}, make("summary", {}, title, said));
  element.open = open.get(title) ?? first;
  element.addEventListener("toggle", () => open.set(title, element.open));
  element.append(...controls.map((control) => control.element));
  const refresh = () => {
    controls.forEach((control) => control.refresh());
    said.textContent = count();
  };
  return { element, refresh };
}
