import { expect, test } from "vitest";
import { sorted } from "../../sorted";

/** What Svelte's compiler makes of two components, minified: `h` is its from_html, `d` its delegate. */
const SCRIPT = [
  "var log=[],heard=new Set;function h(e){log.push(e);return()=>e}function d(e){e.forEach(e=>heard.add(e))}",
  "var a=h(`<p>one</p>`);function A(e){return a()+k(e)}d([`click`]);class Count{n=k(1)}var c=new Count,{n}=c;",
  "function k(e){return e+1}log.push(`between`);const s=`;var x`;",
  "var b=h(`<b>two</b>`,1);async function B(e){return A(e)+b()+s}d([`click`]);d([`click`,`input`]);",
  "log.push(n);globalThis.sortedScript=[log.join(),[...heard].join(),await B(4)]",
].join("");

async function run(script: string): Promise<unknown> {
  await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(script)}`);
  return (globalThis as { sortedScript?: unknown }).sortedScript;
}

test("a sorted script does what it did, each component's markup made before all else that follows", async () => {
  const [said, heard, drawn] = [
    "<p>one</p>,between,<b>two</b>,2",
    "click,input",
    "<p>one</p>5<b>two</b>;var x",
  ];
  expect(await run(SCRIPT)).toEqual([said, heard, drawn]);
  expect(await run(sorted(SCRIPT))).toEqual(["<p>one</p>,<b>two</b>,between,2", heard, drawn]);
});

test("helpers come first and components last, with all markup between them", () => {
  const at = [
    "function h(",
    "function k(",
    "var log",
    "h(`<p>",
    "h(`<b>",
    "class Count",
    "function A(",
    "async function B(",
  ];
  const places = at.map((one) => sorted(SCRIPT).indexOf(one));
  expect(places).not.toContain(-1);
  expect(places).toEqual([...places].sort((one, other) => one - other));
});
