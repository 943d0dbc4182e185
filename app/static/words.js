// The field above the tabs: changes of the head in words. What was typed becomes chips, one for each clause, with a
// slider each; below them what changed, ideas, and what is to be kept.
//
// The server reads what was typed and answers with the clauses (set_words of protocol.js). From then on the page sends
// them all, with their strengths: an edit is always made of the untouched head.

import { button, checkbox, group, make, percent, slider } from "./controls.js";

// After the last movement, so long until the server is asked.
const SETTLE_MS = 180;
// As in editing/edit.py, which tests/test_app.py compares.
export const STRENGTHS = { low: -1, high: 1.5, usual: 1 };
export const LOCKS = { shape: "Keep the shape", skin: "Keep the skin", expression: "Keep the expression" };
export const METHODS = {
  mixed: "Best of all (quick)",
  table: "Table of words",
  mapper: "Trained mapper",
  directions: "Directions",
  optimisation: "Search (slow, can be watched)",
};
export const BUNDLED = "bundled";
export const SETTINGS = { keep_identity: 0.5, locks: [], method: "mixed", model: BUNDLED };
/** What to try, by group. The first of each stand below the field. */
export const IDEAS = {
  Age: ["older", "much younger"],
  Mood: ["smiling", "surprised", "angry", "tired"],
  Skin: ["freckles", "darker skin", "rosy cheeks"],
  Hair: ["full beard", "bushy eyebrows", "grey stubble"],
  Eyes: ["green eyes", "bigger eyes"],
  Face: ["wider nose", "fuller lips", "strong jaw", "chubby"],
};
const FIRST_IDEAS = ["older", "smiling", "freckles", "full beard"];
export const EXAMPLE = "older, smiling, green eyes";

const signed = (value) => percent(value).replace("-", "\u2212");

/**
 * The panel. ask(wish): ask the server for {prompt, clauses, keep_identity, locks, method, model}; prompt: what was
 * typed, null for nothing. moved(expression): how far words have moved the expression, by ARKit name.
 */
export class WordsPanel {
  #ask;
  #moved;
  // [text, strength]
  #clauses = [];
  #settings = { ...SETTINGS };
  #changes = [];
  #unknown = [];
  #suggestions = [];
  #timer = null;
  #open = new Map();
  #field = null;
  #chips = null;
  #refresh = () => {};

  constructor({ ask, moved }) {
    this.#ask = ask;
    this.#moved = moved;
  }

  /** Build the panel into `element`, as things are set now. */
  mount(element) {
    const folds = [this.#moreIdeas(), this.#options()];
    const beside = make("div", { className: "folds" }, ...folds.map((fold) => fold.element));
    const below = { element: beside, refresh: () => folds.forEach((fold) => fold.refresh()) };
    const controls = [this.#typing(), this.#chipList(), this.#report(), this.#firstIdeas(), below];
    element.replaceChildren(
      make("div", { className: "likeness-panel words" }, ...controls.map((control) => control.element)),
    );
    this.#refresh = () => controls.forEach((control) => control.refresh());
    this.#refresh();
  }

  /** What words have made of the head on show. A slider that has just been moved stays where it is. */
  setWords({ clauses, strengths, moved, expression, rest, unknown, suggestions, ...settings }) {
    const told = clauses.map((text, index) => [text, strengths[index]]);
    const moving = this.#timer !== null;
    if (!moving) this.#clauses = told;
    else if (rest !== null) this.#clauses.push(...told.filter(([text]) => !this.#has(text)));
    if (!moving && clauses.length > 0) {
      const { keep_identity, locks, method, model } = settings;
      this.#settings = { keep_identity, locks, method, model };
    }
    this.#changes = moved;
    if (rest !== null) {
      this.#unknown = unknown;
      this.#suggestions = suggestions;
      if (this.#field) this.#field.value = rest;
    }
    this.#moved(expression);
    this.#refresh();
  }

  #has(text) {
    return this.#clauses.some(([other]) => other === text);
  }

  #send(prompt) {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#ask({ prompt, clauses: this.#clauses, ...this.#settings });
  }

  // Something was moved: without clauses it only counts for those that come.
  #settle() {
    this.#refresh();
    clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#clauses.length > 0) this.#timer = setTimeout(() => this.#send(null), SETTLE_MS);
  }

  #set(changes) {
    Object.assign(this.#settings, changes);
    this.#settle();
  }

  #strength(text, strength) {
    this.#clauses = this.#clauses.map((clause) => (clause[0] === text ? [text, strength] : clause));
    this.#settle();
  }

  #remove(text) {
    const index = this.#clauses.findIndex(([other]) => other === text);
    this.#clauses = this.#clauses.filter(([other]) => other !== text);
    this.#refresh();
    const left = this.#chips.querySelectorAll(".remove");
    (left[Math.min(index, left.length - 1)] ?? this.#field).focus();
    this.#send(null);
  }

  #clear() {
    this.#clauses = [];
    this.#refresh();
    this.#field.focus();
    this.#send(null);
  }

  #typing() {
    const id = "likeness-prompt";
    const text = this.#field?.value ?? "";
    this.#field = make("input", { type: "text", id, placeholder: EXAMPLE, autocomplete: "off", enterKeyHint: "go" });
    this.#field.maxLength = 2000;
    this.#field.value = text;
    const form = make("form", { className: "typing" });
    form.append(
      make("label", { htmlFor: id, textContent: "Change the head in words" }),
      this.#field,
      make("button", { type: "submit", textContent: "Apply", id: "likeness-apply" }),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#field.value.trim()) this.#send(this.#field.value);
      else this.#field.focus();
    });
    return { element: form, refresh: () => {} };
  }

  #chipList() {
    this.#chips = make("div", { className: "words-list", role: "group", "aria-label": "Words and their strengths" });
    let shown = [];
    let controls = [];
    const clear = button("Remove all words", () => this.#clear(), { id: "likeness-clear-words" });
    const element = make("div", {}, this.#chips, clear);
    const refresh = () => {
      const texts = this.#clauses.map(([text]) => text);
      // Not made anew while one of them is in somebody's hand.
      if (String(shown) !== String(texts)) {
        shown = texts;
        controls = texts.map((text, index) => this.#chip(text, index));
        this.#chips.replaceChildren(...controls.map((control) => control.element));
      }
      controls.forEach((control) => control.refresh());
      element.hidden = texts.length === 0;
      clear.hidden = texts.length < 2;
    };
    return { element, refresh };
  }

  #chip(text, index) {
    const strength = slider({
      ...{ key: `word-${index}`, label: text, low: STRENGTHS.low, high: STRENGTHS.high, step: 0.05, zero: 0 },
      ...{ rest: STRENGTHS.usual, show: signed },
      read: () => this.#clauses.find(([other]) => other === text)?.[1] ?? STRENGTHS.usual,
      write: (value) => this.#strength(text, value),
    });
    const remove = button("\u00d7", () => this.#remove(text), { className: "remove", title: `Remove ${text}` });
    remove.setAttribute("aria-label", `Remove ${text}`);
    return { element: make("div", { className: "chip" }, strength.element, remove), refresh: strength.refresh };
  }

  #report() {
    const changed = make("p", { className: "changed" });
    const unknown = make("div", { className: "unknown" });
    const element = make("div", { role: "status" }, changed, unknown);
    const refresh = () => {
      const text = this.#changes.length > 0 && this.#clauses.length > 0 ? `Changed: ${this.#changes.join(", ")}` : "";
      // Only what is new is read out.
      if (changed.textContent !== text) changed.textContent = text;
      changed.hidden = text === "";
      const said = [...this.#unknown, ...this.#suggestions].join("\n");
      if (unknown.dataset.said === said) return;
      unknown.dataset.said = said;
      unknown.hidden = said === "";
      const sentences = this.#unknown.map((sentence) => make("p", { textContent: sentence }));
      const meant = this.#suggestions.map((word) => button(word, () => this.#mean(word), {}));
      unknown.replaceChildren(...sentences, ...(meant.length ? [make("div", { className: "ideas" }, ...meant)] : []));
    };
    return { element, refresh };
  }

  // A suggestion in place of what was not understood.
  #mean(word) {
    this.#unknown = [];
    this.#suggestions = [];
    this.#field.value = "";
    this.#field.focus();
    this.#send(word);
  }

  #idea(text) {
    const element = button(text, () => this.#send(text), { "data-idea": text });
    const refresh = () => {
      element.disabled = this.#has(text);
    };
    return { element, refresh };
  }

  #ideaRow(title, texts) {
    const ideas = texts.map((text) => this.#idea(text));
    const element = make("div", { className: "ideas", role: "group", "aria-label": title });
    element.append(...ideas.map((idea) => idea.element));
    return { element, refresh: () => ideas.forEach((idea) => idea.refresh()) };
  }

  #firstIdeas() {
    return this.#ideaRow("Ideas", FIRST_IDEAS);
  }

  #moreIdeas() {
    const controls = Object.entries(IDEAS).map(([title, texts]) => {
      const { element, refresh } = this.#ideaRow(
        title,
        texts.filter((text) => !FIRST_IDEAS.includes(text)),
      );
      return {
        element: make("div", { className: "titled" }, make("span", { textContent: title }), element),
        refresh,
      };
    });
    return group({ title: "More ideas", controls, open: this.#open, count: () => "", first: false });
  }

  #options() {
    const identity = slider({
      ...{ key: "keep-identity", label: "Same person", low: 0, high: 1, step: 0.05 },
      ...{ rest: SETTINGS.keep_identity, zero: 0, show: percent },
      read: () => this.#settings.keep_identity,
      write: (keep_identity) => this.#set({ keep_identity }),
    });
    const locks = Object.entries(LOCKS).map(([name, label]) =>
      checkbox({
        ...{ key: `lock-${name}`, label },
        read: () => this.#settings.locks.includes(name),
        write: (on) =>
          this.#set({ locks: [...this.#settings.locks.filter((other) => other !== name), ...(on ? [name] : [])] }),
      }),
    );
    const set = () => {
      const { keep_identity, locks, method, model } = this.#settings;
      const own = [keep_identity !== SETTINGS.keep_identity, method !== SETTINGS.method, model !== SETTINGS.model];
      return locks.length + own.filter(Boolean).length;
    };
    const controls = [identity, ...locks, this.#method(), this.#model()];
    const count = () => (set() ? `${set()} set` : "");
    return group({ title: "What to keep", controls, open: this.#open, count, first: false });
  }

  #method() {
    const id = "likeness-method-select";
    const select = make("select", { id });
    for (const [value, textContent] of Object.entries(METHODS)) select.append(make("option", { value, textContent }));
    select.addEventListener("change", () => this.#set({ method: select.value }));
    const element = make("div", { className: "row" }, make("label", { htmlFor: id, textContent: "Method" }), select);
    return { element, refresh: () => (select.value = this.#settings.method) };
  }

  #model() {
    const id = "likeness-model";
    const field = make("input", { type: "text", id, placeholder: BUNDLED, autocomplete: "off", spellcheck: false });
    field.maxLength = 100;
    field.setAttribute("aria-describedby", `${id}-note`);
    field.addEventListener("change", () => this.#set({ model: field.value.trim() || BUNDLED }));
    const note = make("p", { className: "note", id: `${id}-note` });
    note.textContent =
      "The bundled model knows faces. Another of open_clip, as model:pretrained (ViT-B-32:laion2b_s34b_b79k), knows " +
      "more words and needs its weights on the server.";
    const row = make("div", { className: "row" }, make("label", { htmlFor: id, textContent: "Model" }), field);
    const refresh = () => {
      if (document.activeElement !== field) field.value = this.#settings.model === BUNDLED ? "" : this.#settings.model;
    };
    return { element: make("div", {}, row, note), refresh };
  }
}
