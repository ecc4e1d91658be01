import { readdirSync } from "node:fs";
import { relative } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { viteSingleFile } from "vite-plugin-singlefile";
import { defineConfig, type Plugin } from "vitest/config";
import { likeBesideLike } from "./sorted.ts";

const components = readdirSync("src", { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".svelte"))
  .sort();

/** A component's own class: its place in the list of components, two letters instead of a hash of thirteen. */
const cssHash = ({ filename }: { filename: string }) =>
  `s${(components.indexOf(relative("src", filename)) + 1).toString(36)}`;

/** The page is never sent as markup to be taken over ("hydrated"), so what Svelte has for that is left out. */
const neverHydrated: Plugin = {
  name: "never-hydrated",
  transform: {
    filter: { id: /svelte\/src\/internal\/client\/dom\/hydration\.js/ },
    handler(code) {
      const fixed = code
        .replace("export let hydrating = false", "export const hydrating = false")
        .replace("\thydrating = value;", "");
      if (
        fixed.length !==
        code.length + "const".length - "let".length - "\thydrating = value;".length
      )
        throw new Error(
          "Svelte's hydration.js has changed; look at `neverHydrated` in vite.config.ts",
        );
      return fixed;
    },
  },
};

export default defineConfig({
  plugins: [
    svelte({ compilerOptions: { cssHash, discloseVersion: false } }),
    neverHydrated,
    likeBesideLike,
    viteSingleFile(),
  ],
  worker: { rolldownOptions: { output: { comments: false } } },
  build: {
    target: "es2022",
    reportCompressedSize: true,
    modulePreload: { polyfill: false }, // there is one script, and no module to load before it
    rolldownOptions: {
      checks: { circularDependency: true },
      onLog(level, log, handle) {
        if (log.code !== "CIRCULAR_DEPENDENCY") handle(level, log);
        // Svelte's own files go in circles; ours do not
        else if (!log.message.includes("node_modules")) throw new Error(log.message);
      },
    },
  },
  test: {
    environment: "node",
    include: ["tests/**/*.test.ts"],
    isolate: false, // a worker of its own for each file costs seconds, and no file leaves anything behind
    testTimeout: 60_000, // milliseconds: for a loaded machine
  },
});
