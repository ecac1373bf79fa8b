// Rules for all JavaScript of this repository; `dev.py check` runs them.
import { createRequire } from "node:module";

// npx keeps the packages it fetches beside eslint, where an import does not find them.
const require = createRequire(process.argv[1]);
const js = require("@eslint/js");

export default [
  { ignores: [".venv/", "docs/_build/", "**/node_modules/"] },
  js.configs.recommended,
  {
    files: ["django_perso/sandbox/perso-interactive-sdk.js"],
    languageOptions: { sourceType: "script" },
  },
  {
    files: ["django_perso/static/**"],
    rules: {
      "no-restricted-properties": [
        "error",
        {
          object: "Array",
          property: "from",
          message: "Prototype.js and MooTools replace it on their pages.",
        },
      ],
    },
  },
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      complexity: ["error", 10],
      "no-multi-assign": "error",
      "no-nested-ternary": "error",
      "no-return-assign": ["error", "always"],
      "no-sequences": ["error", { allowInParentheses: false }],
      "no-undef": "off", // tsc finds undefined names
      "no-unused-expressions": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "no-void": "error",
      "one-var": ["error", "never"],
    },
  },
];
