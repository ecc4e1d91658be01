import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

/** What Svelte is able to do and this page has no use for: of each file the text that goes, and what stands there instead. */
const UNUSED: Record<string, [string, string][]> = {
  // no server renders this page
  "internal/client/dom/hydration.js": [["export let hydrating = false;", "export const hydrating = false;"], ["hydrating = value;", ""]],
  // no component awaits in its markup, for which there is a flag
  "internal/client/reactivity/async.js": [["if (async.length === 0 && pending.length === 0) {\n\t\tfn(deriveds);\n\t\treturn;\n\t}", "return fn(deriveds);"], ["is_runes() ? derived : derived_safe_equal", "derived"]],
  "internal/client/dom/blocks/branches.js": [["var defer = should_defer_append();", "const defer = false;"]],
  "internal/client/dom/blocks/each.js": [["var defer = should_defer_append();", "const defer = false;"]],
  // every component is written with runes
  "internal/client/reactivity/sources.js": [["is_runes() &&", ""], ["is_runes() &&", ""], ["var runes = is_runes();", "const runes = true;"]],
  "internal/client/dom/blocks/key.js": [["var legacy = !is_runes();", "const legacy = false;"]],
  "internal/client/runtime.js": [["is_runes() &&", ""]],
  "internal/client/reactivity/props.js": [["((flags & PROPS_IS_IMMUTABLE) !== 0 ? derived : derived_safe_equal)", "derived"], ["STATE_SYMBOL in props || LEGACY_PROPS in props", "false"], ["[initial_value, is_store_sub] = capture_store_binding(() => /** @type {V} */ (props[key]))", "initial_value = props[key]"], ["var is_store_sub", "const is_store_sub"], ["var legacy_parent = props.$$legacy", "const legacy_parent = false"]],
  // no list lets one choose several, has a default of its own or shows the chosen one in its own way; no field is a date
  "internal/client/dom/elements/bindings/select.js": [["var multiple = select.multiple", "const multiple = false"], ["if (select.multiple) {\n\t\t//", "if (false) {\n\t\t//"], ["if (select.multiple) {\n\t\t\tvalue", "if (false) {\n\t\t\tvalue"], ["if (entries.every(is_selectedcontent_mutation)) return;", ""], ["if ('__defaultValue' in select) {", "if (false) {"]],
  "internal/client/dom/elements/bindings/input.js": [["if (input.type === 'date' && !value && !input.value) {", "if (false) {"]],
  // a list that only a server reads
  "utils.js": [["...DOM_BOOLEAN_ATTRIBUTES,", ""]],
};
const met = new Set<string>();
const unused: Plugin = {
  name: "unused",
  transform(code, id) {
    const file = Object.keys(UNUSED).find((file) => id.endsWith(`svelte/src/${file}`));
    if (!file) return;
    met.add(file);
    for (const [text, instead] of UNUSED[file]) {
      if (!code.includes(text)) this.error(`Svelte has moved “${text}”`);
      code = code.replace(text, instead);
    }
    return { code, map: null };
  },
  buildEnd(error) {
    const missed = Object.keys(UNUSED).filter((file) => !met.has(file));
    if (!error && missed.length) this.error(`Svelte has moved ${missed.join(", ")}`);
  },
};

// what reads a property stays: to Svelte a read is a subscription
const pure = { unknownGlobalSideEffects: false } as const;
const minify = { compress: { target: "es2022", maxIterations: 10, treeshake: pure }, mangle: true, codegen: true } as const;

export default defineConfig({
  plugins: [unused, svelte(), viteSingleFile({ removeViteModuleLoader: true })],
  build: { target: "es2022", rolldownOptions: { treeshake: pure, output: { minify } }, reportCompressedSize: true },
});
