/** A blocked matrix product: out[m, n] = sum over k of a[m, k] b[n, k], four rows by four at a time. */

/** `a` and `b` hold rows of `k` numbers; rows of `a` begin at `atA`, those of `b` at `atB`. */
export function multiply(
  a: Float64Array,
  atA: number,
  rowsA: number,
  b: Float64Array,
  atB: number,
  rowsB: number,
  k: number,
  out: Float64Array,
): void {
  const fullA = rowsA - (rowsA % 4);
  const fullB = rowsB - (rowsB % 4);
  for (let i = 0; i < fullA; i += 4) {
    for (let j = 0; j < fullB; j += 4)
      tile(a, atA + i * k, b, atB + j * k, k, out, i * rowsB + j, rowsB);
  }
  for (let i = 0; i < rowsA; i++)
    for (let j = i < fullA ? fullB : 0; j < rowsB; j++)
      out[i * rowsB + j] = dot(a, atA + i * k, b, atB + j * k, k);
}

function dot(a: Float64Array, i: number, b: Float64Array, j: number, k: number): number {
  let sum = 0;
  for (let x = 0; x < k; x++) sum += a[i + x] * b[j + x];
  return sum;
}

/** Sixteen sums at once: every number that is read is used four times. */
function tile(
  a: Float64Array,
  a0: number,
  b: Float64Array,
  b0: number,
  k: number,
  out: Float64Array,
  at: number,
  width: number,
): void {
  const a1 = a0 + k;
  const a2 = a1 + k;
  const a3 = a2 + k;
  const b1 = b0 + k;
  const b2 = b1 + k;
  const b3 = b2 + k;
  let s00 = 0,
    s01 = 0,
    s02 = 0,
    s03 = 0;
  let s10 = 0,
    s11 = 0,
    s12 = 0,
    s13 = 0;
  let s20 = 0,
    s21 = 0,
    s22 = 0,
    s23 = 0;
  let s30 = 0,
    s31 = 0,
    s32 = 0,
    s33 = 0;
  for (let x = 0; x < k; x++) {
    const y0 = b[b0 + x];
    const y1 = b[b1 + x];
    const y2 = b[b2 + x];
    const y3 = b[b3 + x];
    const z0 = a[a0 + x];
    s00 += z0 * y0;
    s01 += z0 * y1;
    s02 += z0 * y2;
    s03 += z0 * y3;
    const z1 = a[a1 + x];
    s10 += z1 * y0;
    s11 += z1 * y1;
    s12 += z1 * y2;
    s13 += z1 * y3;
    const z2 = a[a2 + x];
    s20 += z2 * y0;
    s21 += z2 * y1;
    s22 += z2 * y2;
    s23 += z2 * y3;
    const z3 = a[a3 + x];
    s30 += z3 * y0;
    s31 += z3 * y1;
    s32 += z3 * y2;
    s33 += z3 * y3;
  }
  out[at] = s00;
  out[at + 1] = s01;
  out[at + 2] = s02;
  out[at + 3] = s03;
  at += width;
  out[at] = s10;
  out[at + 1] = s11;
  out[at + 2] = s12;
  out[at + 3] = s13;
  at += width;
  out[at] = s20;
  out[at + 1] = s21;
  out[at + 2] = s22;
  out[at + 3] = s23;
  at += width;
  out[at] = s30;
  out[at + 1] = s31;
  out[at + 2] = s32;
  out[at + 3] = s33;
}
