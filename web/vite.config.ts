import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

let guarded = false;
/** No server renders this page, so the flag by which Svelte guards taking such a page over is false for good: what it guards, 2.6 KB, goes. */
const neverHydrated: Plugin = {
  name: "never-hydrated",
  transform(code, id) {
    if (!id.endsWith("svelte/src/internal/client/dom/hydration.js")) return;
    const found = code.replace("export let hydrating = false;", "export const hydrating = false;").replace("hydrating = value;", "");
    if (!found.includes("const hydrating")) this.error("Svelte's flag for hydration has moved");
    guarded = true;
    return { code: found, map: null };
  },
  buildEnd(error) {
    if (!error && !guarded) this.error("Svelte's file for hydration has moved");
  },
};

// what reads a property stays: to Svelte a read is a subscription
const pure = { unknownGlobalSideEffects: false } as const;
const minify = { compress: { target: "es2022", maxIterations: 10, treeshake: pure }, mangle: true, codegen: true } as const;

export default defineConfig({
  plugins: [neverHydrated, svelte(), viteSingleFile({ removeViteModuleLoader: true })],
  build: { target: "es2022", rolldownOptions: { treeshake: pure, output: { minify } }, reportCompressedSize: true },
});
