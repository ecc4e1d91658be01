const HUES = ["--fwd", "--probability", "--bwd", "--positive"];

/** The color of the i-th of things that stand side by side; four take turns. */
export const hue = (i: number): string => `var(${HUES[i % HUES.length]})`;
