import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: [".venv/", "app/static/vendor/", "out/"] },
  js.configs.recommended,
  {
    files: ["app/static/**/*.js"],
    languageOptions: { globals: globals.browser },
    rules: { eqeqeq: "error", "no-var": "error", "prefer-const": "error" },
  },
  { files: ["**/*.mjs"], languageOptions: { globals: globals.node } },
  { files: ["**/*.cjs"], languageOptions: { sourceType: "commonjs", globals: globals.node } },
];
