/** The functions of the formula language, a row each, as in Python's `formula.functions`. */
import { bfloat16 } from "./dtype";
import { erf } from "./erf";

export interface Rule {
  of: (x: number) => number;
  /** d function / dx, given x and the function's value. */
  slope: (x: number, y: number) => number;
  /** Rounds nothing. */
  exact?: true;
}

export const FUNCTIONS = {
  exp: { of: Math.exp, slope: (_, y) => y },
  expm1: { of: Math.expm1, slope: (_, y) => y + 1 },
  log: { of: Math.log, slope: (x) => 1 / x },
  sqrt: { of: Math.sqrt, slope: (_, y) => 0.5 / y },
  tanh: { of: Math.tanh, slope: (_, y) => 1 - y * y },
  erf: { of: erf, slope: (x) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) },
  sin: { of: Math.sin, slope: (x) => Math.cos(x) },
  cos: { of: Math.cos, slope: (x) => -Math.sin(x) },
  bf16: { of: bfloat16, slope: () => 0, exact: true },
  sign: { of: Math.sign, slope: () => 0, exact: true },
  abs: { of: Math.abs, slope: Math.sign, exact: true },
  neg: { of: (x) => -x, slope: () => -1, exact: true },
} satisfies Record<string, Rule>;

export type FunctionName = keyof typeof FUNCTIONS;

export const rule = (name: FunctionName): Rule => FUNCTIONS[name];
