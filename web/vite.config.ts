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

/** What HTML lets one leave out of a template: quotes around one word, and the tags that close at its end anyway; and a style's scope without `:where()`. */
const shortTemplates: Plugin = {
  name: "short-templates",
  transform(code, id) {
    if (id.includes("svelte&type=style")) return { code: code.replace(/:where\((\.\w+)\)/g, "$1"), map: null };
    if (!id.endsWith(".svelte")) return;
    const short = (html: string) => html.replace(/="([\w.#-]+)"(?!\/)/g, "=$1").replace(/(<\/\w+>)+$/, "");
    return { code: code.replace(/(?<=\$\.from_(?:html|svg)\(`)(?:[^`\\]|\\.)*(?=`)/g, short), map: null };
  },
};

// what reads a property stays: to Svelte a read is a subscription
const pure = { unknownGlobalSideEffects: false } as const;
const minify = { compress: { target: "es2022", maxIterations: 10, treeshake: pure }, mangle: true, codegen: true } as const;

export default defineConfig({
  plugins: [neverHydrated, svelte(), shortTemplates, viteSingleFile({ removeViteModuleLoader: true })],
  build: { target: "es2022", rolldownOptions: { treeshake: pure, output: { minify } }, reportCompressedSize: true },
});
