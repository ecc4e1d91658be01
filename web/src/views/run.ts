/** Views in which a model goes on: it writes, is changed, is trained. */
export { default as lab } from "./Lab.svelte";
export { default as playground } from "./Playground.svelte";
export { default as training } from "./Training.svelte";
