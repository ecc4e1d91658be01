import { readdirSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

const SOURCE = fileURLToPath(new URL("./src", import.meta.url));
const components = readdirSync(SOURCE, { recursive: true })
  .filter((file) => file.endsWith(".svelte"))
  .sort();

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** The class that keeps a component's styles its own: a letter for its place in the list, then with a digit. */
function cssHash({ filename, hash }) {
  const place = components.indexOf(relative(SOURCE, filename));
  if (place < 0) return `_${hash(filename)}`; // the plugin tries it on a file that is not there
  const [turn, letter] = [Math.floor(place / LETTERS.length), LETTERS[place % LETTERS.length]];
  return turn ? letter + (turn - 1) : letter;
}

export default { preprocess: vitePreprocess(), compilerOptions: { cssHash, runes: true, discloseVersion: false } };
