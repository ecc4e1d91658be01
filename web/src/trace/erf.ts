const TOP = 6; // beyond it the error function is 1 in float64

/**
 * The error function, to a few units in the last place of a float64: the series of
 * erf(x) = 2/√π e^(−x²) Σ 2ⁿ x^(2n+1) / (1·3·5···(2n+1)), whose terms are all of one sign
 * (Abramowitz and Stegun 1964, 7.1.6).
 */
export function erf(x: number): number {
  if (Math.abs(x) >= TOP) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > (Math.abs(sum) * Number.EPSILON) / 4; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
