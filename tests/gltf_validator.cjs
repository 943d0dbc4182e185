// The Khronos glTF validator on one file; prints its report as JSON. Usage: node gltf_validator.cjs FILE.glb
"use strict";

const fs = require("node:fs");
const validator = require("gltf-validator");

const data = fs.readFileSync(process.argv[2]);
validator
  .validateBytes(new Uint8Array(data), { uri: process.argv[2], maxIssues: 0, writeTimestamp: false })
  .then((report) => process.stdout.write(JSON.stringify(report)))
  .catch((error) => {
    process.stderr.write(`${error}\n`);
    process.exitCode = 1;
  });
