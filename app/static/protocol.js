// Messages between the page and the viewer: the browser's copy of app/protocol.py, which says what each one means.
// tests/test_app.py compares the two tables.

export const PROTOCOL_VERSION = 1;

export const MESSAGES = {
  load_head: { to: "viewer", fields: { url: "string", file_name: "string", final: "boolean" } },
  drop_first: { to: "viewer", fields: {} },
  show_progress: { to: "viewer", fields: { text: "string?", fraction: "number" } },
  set_expression: { to: "viewer", fields: { weights: "numbers", own: "boolean" } },
  set_pose: { to: "viewer", fields: { yaw_deg: "number", pitch_deg: "number", roll_deg: "number" } },
  set_gaze: { to: "viewer", fields: { yaw_deg: "number", pitch_deg: "number" } },
  set_view: { to: "viewer", fields: { yaw_deg: "number", pitch_deg: "number", zoom: "number" } },
  set_light: { to: "viewer", fields: { yaw_deg: "number", exposure: "number" } },
  set_style: { to: "viewer", fields: { style: "string" } },
  save_head: { to: "viewer", fields: {} },
  ready: { to: "page", fields: { protocol: "number" } },
  head_loaded: {
    to: "page",
    fields: { url: "string", final: "boolean", triangles: "number", morphs: "strings", joints: "strings" },
  },
  failed: { to: "page", fields: { text: "string" } },
};

const isString = (value) => typeof value === "string";
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const KINDS = {
  string: isString,
  "string?": (value) => value === null || isString(value),
  number: Number.isFinite,
  boolean: (value) => typeof value === "boolean",
  strings: (value) => Array.isArray(value) && value.every(isString),
  numbers: (value) => isObject(value) && Object.values(value).every(Number.isFinite),
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
