import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

/** No server renders this page, so the flag by which Svelte guards taking such a page over is false for good: what it guards, 2.6 KB, goes. */
const neverHydrated: Plugin = {
  name: "never-hydrated",
  transform(code, id) {
    if (!id.endsWith("svelte/src/internal/client/dom/hydration.js")) return;
    const found = code.replace("export let hydrating = false;", "export const hydrating = false;").replace("hydrating = value;", "");
    if (!found.includes("const hydrating")) this.error("Svelte's flag for hydration has moved");
    return { code: found, map: null };
  },
};

export default defineConfig({
  plugins: [neverHydrated, svelte(), viteSingleFile({ removeViteModuleLoader: true })],
  build: { target: "es2022", reportCompressedSize: true },
});
