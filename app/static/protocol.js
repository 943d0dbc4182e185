// Messages between the page and the viewer: the browser's copy of app/protocol.py, which says what each one means.
// tests/test_app.py compares the two tables.

export const PROTOCOL_VERSION = 5;

export const MESSAGES = {
  load_head: {
    to: "viewer",
    fields: { url: "string", file_name: "string", final: "boolean", original: "boolean", expression: "numbers" },
  },
  drop_first: { to: "viewer", fields: {} },
  set_photo: {
    to: "viewer",
    fields: {
      url: "string?",
      width_px: "number",
      height_px: "number",
      points_px: "values",
      focal_px: "number",
      principal_x_px: "number",
      principal_y_px: "number",
      transform: "values",
      reading: "boolean",
    },
  },
  show_progress: { to: "viewer", fields: { text: "string?", fraction: "number", beside: "boolean" } },
  set_expression: { to: "viewer", fields: { weights: "numbers", own: "boolean" } },
  set_pose: { to: "viewer", fields: { yaw_deg: "number", pitch_deg: "number", roll_deg: "number" } },
  set_gaze: { to: "viewer", fields: { yaw_deg: "number", pitch_deg: "number" } },
  set_view: { to: "viewer", fields: { yaw_deg: "number", pitch_deg: "number", zoom: "number" } },
  set_light: {
    to: "viewer",
    fields: {
      preset: "string",
      yaw_deg: "number",
      pitch_deg: "number",
      key: "number",
      environment: "number",
      environment_yaw_deg: "number",
      exposure: "number",
      tone_mapping: "string",
    },
  },
  set_style: { to: "viewer", fields: { style: "string" } },
  set_detail: {
    to: "viewer",
    fields: { normal: "number", wrinkles: "number", scattering: "number", shine: "number" },
  },
  set_map: { to: "viewer", fields: { map: "string", flat: "boolean" } },
  set_surroundings: { to: "viewer", fields: { url: "string?", name: "string" } },
  set_idle: { to: "viewer", fields: { on: "boolean" } },
  set_theme: { to: "viewer", fields: { dark: "boolean" } },
  save_head: { to: "viewer", fields: {} },
  set_person: {
    to: "page",
    fields: { seed: "number?", values: "numbers", fixed: "strings", truncation: "number", colours: "texts" },
  },
  set_faces: { to: "page", fields: { seeds: "values", pictures: "strings", texts: "strings" } },
  set_words: {
    to: "page",
    fields: {
      clauses: "strings",
      strengths: "values",
      keep_identity: "number",
      locks: "strings",
      method: "string",
      model: "string",
      moved: "strings",
      expression: "numbers",
      rest: "string?",
      unknown: "strings",
      suggestions: "strings",
    },
  },
  ready: { to: "page", fields: { protocol: "number" } },
  head_loaded: {
    to: "page",
    fields: {
      url: "string",
      final: "boolean",
      triangles: "number",
      morphs: "strings",
      joints: "strings",
      maps: "strings",
    },
  },
  map_shown: { to: "page", fields: { map: "string", flat: "boolean" } },
  surroundings_set: { to: "page", fields: { name: "string?", problem: "string?" } },
  fill_window: { to: "page", fields: { on: "boolean" } },
  failed: { to: "page", fields: { text: "string" } },
};

const isString = (value) => typeof value === "string";
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const KINDS = {
  string: isString,
  "string?": (value) => value === null || isString(value),
  number: Number.isFinite,
  "number?": (value) => value === null || Number.isFinite(value),
  boolean: (value) => typeof value === "boolean",
  strings: (value) => Array.isArray(value) && value.every(isString),
  values: (value) => Array.isArray(value) && value.every(Number.isFinite),
  numbers: (value) => isObject(value) && Object.values(value).every(Number.isFinite),
  texts: (value) => isObject(value) && Object.values(value).every(isString),
};

/**
 * Check a message that has arrived at `receiver` ("viewer" or "page").
 *
 * Returns the message, or throws a TypeError that says what is wrong with it: the other side is at fault.
 */
export function checkMessage(message, receiver) {
  const entry = isObject(message) && Object.hasOwn(MESSAGES, message.type) ? MESSAGES[message.type] : null;
  if (entry === null || entry.to !== receiver) {
    throw new TypeError(`The ${receiver} knows no message of type ${JSON.stringify(message?.type)}.`);
  }
  for (const [field, kind] of Object.entries(entry.fields)) {
    if (!KINDS[kind](message[field])) {
      throw new TypeError(
        `Message ${message.type}: ${field} must be of kind ${kind}, it is ${JSON.stringify(message[field])}.`,
      );
    }
  }
  for (const field of Object.keys(message)) {
    if (field !== "type" && !Object.hasOwn(entry.fields, field)) {
      throw new TypeError(`Message ${message.type} has no field ${field}.`);
    }
  }
  return message;
}
