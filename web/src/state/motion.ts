/** Whether the reader wants no motion. */
export const still = matchMedia("(prefers-reduced-motion: reduce)");
