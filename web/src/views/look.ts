/** Views of what any trace holds. */
export { default as attention } from "./Attention.svelte";
export { default as bridge } from "./attention/Bridge.svelte";
export { default as map } from "./Map.svelte";
export { default as tokens } from "./Tokens.svelte";
export { default as weights } from "./Weights.svelte";
