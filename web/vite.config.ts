import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import { onePage, provided } from "./onePage.ts";

export default defineConfig({
  plugins: [svelte({ compilerOptions: { discloseVersion: false } }), onePage],
  worker: { rolldownOptions: { output: { comments: false } } },
  build: {
    target: "es2022",
    lib: { entry: "src/main.ts", formats: ["cjs"], cssFileName: "style" },
    rolldownOptions: {
      preserveEntrySignatures: false,
      output: {
        ...provided,
        entryFileNames: "main.js",
        chunkFileNames: "[name].js",
        comments: false,
        codeSplitting: { groups: [{ name: "shared", minShareCount: 2 }] },
      },
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
