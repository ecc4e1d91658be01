/*
 * What runs the page's scripts, which are CommonJS modules. Those that a page needs at once stand in it. The others are
 * loaded when the first of their views is opened: from the server, or from the file, where they stand by packed.
 */
const modules = {};

/** Run a module, which is there from now on. */
globalThis.provide = (name, run) => {
  const exports = {};
  run(exports);
  modules[name] = exports;
};

/** What a module exports; of one that has to be loaded, a promise of it. */
globalThis.require = (name) =>
  (modules[name] ??= load(name).catch((error) => {
    delete modules[name];
    throw error;
  }));

async function load(name) {
  const script = document.createElement("script");
  script.textContent = await codeOf(name); // its hash stands in the page's policy
  document.head.append(script);
  return modules[name];
}

async function codeOf(name) {
  const packed = document.getElementById(name);
  if (packed) return globalThis.unpacked(packed.textContent);
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`The server did not send ${name}.`);
  return answer.text();
}
