/** The number drawn for a token: the first 53 bits of BLAKE2b("seed/index"), as a fraction (RFC 7693). */

const IV = [
  0x6a09e667f3bcc908n,
  0xbb67ae8584caa73bn,
  0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n,
  0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n,
];
/** Which word of the message goes where, one round a row, in hexadecimal digits. */
const SIGMA = [
  "0123456789abcdef",
  "ea489fd61c02b753",
  "b8c052fdae367194",
  "7931dcbe265a40f8",
  "905724afe1bc683d",
  "2c6a0b834d75fe19",
  "c51fed4a0763928b",
  "db7ec13950f4862a",
  "6fe9b308c2d714a5",
  "a2847615fb9e3cd0",
];
const ROUNDS = 12;
const DIGEST_BYTES = 8n;
/** The state is a square of four rows: first its columns are mixed, then its diagonals. */
const LANES = Array.from({ length: 8 }, (_, i) =>
  [0, 1, 2, 3].map((row) => 4 * row + ((i + (i < 4 ? 0 : row)) % 4)),
);
const TURNS = [
  [32n, 24n],
  [16n, 63n],
];

const word = (value: bigint): bigint => BigInt.asUintN(64, value);
const turn = (value: bigint, by: bigint): bigint => word((value >> by) | (value << (64n - by)));

/** A number u, 0 <= u < 1, for the token `index` of a text; `ops.sampling.uniform` gives the same. */
export function uniform(seed: number, index: number): number {
  const text = new TextEncoder().encode(`${seed}/${index}`); // fewer than 128 bytes: one block
  const block = new DataView(new ArrayBuffer(128));
  text.forEach((byte, i) => block.setUint8(i, byte));
  const first = IV[0] ^ 0x01010000n ^ DIGEST_BYTES;
  const v = [first, ...IV.slice(1), ...IV];
  v[12] ^= BigInt(text.length);
  v[14] = word(~v[14]);
  for (let round = 0; round < ROUNDS; round++) {
    const order = SIGMA[round % SIGMA.length];
    const message = (i: number) => block.getBigUint64(8 * parseInt(order[i], 16), true);
    LANES.forEach(([a, b, c, d], i) =>
      TURNS.forEach(([first, second], half) => {
        v[a] = word(v[a] + v[b] + message(2 * i + half));
        v[d] = turn(v[d] ^ v[a], first);
        v[c] = word(v[c] + v[d]);
        v[b] = turn(v[b] ^ v[c], second);
      }),
    );
  }
  block.setBigUint64(0, first ^ v[0] ^ v[8], true); // the digest, as the big-endian number Python reads
  return Number(block.getBigUint64(0) >> 11n) / 2 ** 53;
}
