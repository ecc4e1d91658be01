import { svelte } from "@sveltejs/vite-plugin-svelte";
import { viteSingleFile } from "vite-plugin-singlefile";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [svelte(), viteSingleFile({ removeViteModuleLoader: true })],
  build: {
    target: "es2022",
    reportCompressedSize: true,
    rolldownOptions: {
      checks: { circularDependency: true },
      onLog(level, log, handle) {
        if (log.code !== "CIRCULAR_DEPENDENCY") handle(level, log);
        // Svelte's own files go in circles; ours do not
        else if (!log.message.includes("node_modules")) throw new Error(log.message);
      },
    },
  },
  test: { environment: "node", include: ["tests/**/*.test.ts"] },
});
