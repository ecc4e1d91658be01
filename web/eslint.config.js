import js from "@eslint/js";
import svelte from "eslint-plugin-svelte";
import globals from "globals";
import ts from "typescript-eslint";
import svelteConfig from "./svelte.config.js";

export default ts.config(
  { ignores: ["dist", "generated", "node_modules"] },
  js.configs.recommended,
  ts.configs.recommended,
  svelte.configs.recommended,
  { languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: {
      parserOptions: { parser: ts.parser, extraFileExtensions: [".svelte"], svelteConfig },
    },
  },
  {
    files: ["**/*.ts", "**/*.svelte"],
    rules: {
      // the type checker knows what is defined
      "no-undef": "off",
      // `{#each items as _, i}`: a name that begins with _ is there for its place
      "@typescript-eslint/no-unused-vars": [
        "error",
        { argsIgnorePattern: "^_", varsIgnorePattern: "^_", destructuredArrayIgnorePattern: "^_" },
      ],
      // a Map or URLSearchParams that lives inside one function, or that nothing watches, is a plain one
      "svelte/prefer-svelte-reactivity": "off",
      // `{" "}` is a space that the formatter keeps
      "svelte/no-useless-mustaches": "off",
    },
  },
);
