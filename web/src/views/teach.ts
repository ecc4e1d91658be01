/** Lessons, and what clients of a server ask. */
export { default as learn } from "./Learn.svelte";
export { default as requests } from "./Requests.svelte";
