// `npm run vendor`: copy from node_modules the three.js modules that the viewer imports, and what those import, to
// app/static/vendor, where the page's import map finds them. Nothing comes from a CDN; nothing is bundled.

import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "..", "node_modules", "three");
const target = join(here, "static", "vendor", "three");

const ENTRIES = [
  "build/three.module.js",
  "examples/jsm/controls/OrbitControls.js",
  "examples/jsm/loaders/GLTFLoader.js",
  "examples/jsm/loaders/HDRLoader.js",
];

if (!existsSync(source)) {
  throw new Error("node_modules/three is missing. Run `npm ci` first.");
}
rmSync(target, { recursive: true, force: true });

const pending = ENTRIES.map((path) => join(source, path));
const seen = new Set();
while (pending.length > 0) {
  const file = pending.pop();
  if (seen.has(file)) continue;
  seen.add(file);
  const copy = join(target, relative(source, file));
  mkdirSync(dirname(copy), { recursive: true });
  copyFileSync(file, copy);
  for (const [, path] of readFileSync(file, "utf8").matchAll(/\bfrom\s*['"](\.[^'"]+)['"]/g)) {
    pending.push(join(dirname(file), path));
  }
}
copyFileSync(join(source, "LICENSE"), join(target, "LICENSE"));
process.stdout.write(`${seen.size} three.js modules copied to app/static/vendor\n`);
