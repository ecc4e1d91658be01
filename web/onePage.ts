import { readFileSync } from "node:fs";
import type { Plugin } from "vite";

/**
 * Puts the scripts into the page: at its end what it runs at once, and standing by, as text, what it runs when needed.
 * The server sends the latter by themselves, and files pack them (`glassformer.server.page`); `require.js` loads them.
 */
export const onePage: Plugin = {
  name: "one-page",
  apply: "build",
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      const outputs = Object.values(bundle);
      const chunks = outputs.filter((one) => one.type === "chunk");
      const entry = chunks.find((one) => one.isEntry)!;
      const first = chunks.filter((one) => entry.imports.includes(one.fileName));
      for (const one of first)
        if (one.imports.length) throw new Error(`${one.fileName} waits for ${one.imports}`);
      const begin = [...first, entry];
      const later = chunks.filter((one) => !begin.includes(one));
      for (const { fileName, imports } of later)
        if (!imports.every((name) => begin.some((one) => one.fileName === name)))
          throw new Error(`${fileName} waits for what may not be loaded: ${imports}`);
      const styles = outputs.flatMap((one) =>
        one.type === "asset" && one.fileName.endsWith(".css") ? `<style>${one.source}</style>` : [],
      );
      const scripts = [
        ...later.map((one) => tag(one.code, ` type="text/plain" id="./${one.fileName}"`)),
        ...[readFileSync("require.js", "utf8"), ...begin.map((one) => one.code)].map((code) =>
          tag(code),
        ),
      ];
      const source = readFileSync("index.html", "utf8")
        .replace("</head>", () => `${styles.join("")}</head>`)
        .replace(/<script type="module".*<\/script>/, () => scripts.join("\n"));
      for (const { fileName } of outputs) delete bundle[fileName];
      this.emitFile({ type: "asset", fileName: "index.html", source });
    },
  },
};

/** A script in the page; no text in it can end it. */
const tag = (code: string, attributes = "") =>
  `<script${attributes}>${code.replace(/<(?=\/script|!--)/g, "\\x3C")}</script>`;

/** A module as `require.js` runs it. */
export const provided = {
  intro: ({ fileName }: { fileName: string }) => `provide("./${fileName}",exports=>{"use strict";`,
  outro: "});",
};
