import { size, type Step } from "./trace";

/** Where a trace's numbers come from: bytes [begin, end) of its values file. */
export type Bytes = (begin: number, end: number) => Promise<ArrayBuffer>;

export const DTYPES: Record<string, { bytes: number; whole: boolean; read: (view: DataView, at: number) => number }> = {
  float32: { bytes: 4, whole: false, read: (view, at) => view.getFloat32(at, true) },
  float64: { bytes: 8, whole: false, read: (view, at) => view.getFloat64(at, true) },
  bfloat16: { bytes: 2, whole: false, read: (view, at) => bfloat16(view.getUint16(at, true)) },
  float16: { bytes: 2, whole: false, read: (view, at) => float16(view.getUint16(at, true)) },
  int64: { bytes: 8, whole: true, read: (view, at) => Number(view.getBigInt64(at, true)) },
  int32: { bytes: 4, whole: true, read: (view, at) => view.getInt32(at, true) },
  int16: { bytes: 2, whole: true, read: (view, at) => view.getInt16(at, true) },
  uint8: { bytes: 1, whole: true, read: (view, at) => view.getUint8(at) },
  bool: { bytes: 1, whole: true, read: (view, at) => view.getUint8(at) },
};

const scratch = new DataView(new ArrayBuffer(4));

function bfloat16(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}

/** The half distance from 1 to the next larger number of a dtype; 0 for whole numbers, which are exact. */
export const ROUNDOFF: Record<string, number> = { float64: 2 ** -53, float32: 2 ** -24, float16: 2 ** -11, bfloat16: 2 ** -8 };
/** The smallest normal number of a dtype. */
export const TINY: Record<string, number> = { float64: 2 ** -1022, float32: 2 ** -126, float16: 2 ** -14, bfloat16: 2 ** -126 };

const KEPT_TILES = 2048;

/** The numbers of a trace, fetched in tiles when they are asked for; a tile is fetched once. */
export class Values {
  private tiles = new Map<number, DataView>();
  private coming = new Map<number, Promise<void>>();

  constructor(private bytes: Bytes, private tileBytes: number) {}

  /** One number, or undefined while its tile is not here. */
  peek(step: Step, flat: number): number | undefined {
    const { bytes, read } = DTYPES[step.dtype];
    const begin = this.begin(step);
    const inside = flat * bytes;
    const k = Math.floor(inside / this.tileBytes);
    const tile = this.tiles.get(begin + k * this.tileBytes);
    return tile && read(tile, inside - k * this.tileBytes);
  }

  /** Fetch what is missing of the elements [from, to) of a value. */
  async fetch(step: Step, from: number, to: number): Promise<void> {
    const { bytes } = DTYPES[step.dtype];
    const begin = this.begin(step);
    const end = step.bytes![1];
    const wanted: Promise<void>[] = [];
    for (let k = Math.floor((from * bytes) / this.tileBytes); k * this.tileBytes < to * bytes; k++) {
      const at = begin + k * this.tileBytes;
      if (!this.tiles.has(at)) wanted.push(this.tile(at, Math.min(at + this.tileBytes, end)));
    }
    await Promise.all(wanted);
  }

  /** A whole value as doubles, row-major. */
  async all(step: Step): Promise<Float64Array> {
    return this.range(step, 0, size(step));
  }

  /** The elements [from, to) of a value, as doubles. */
  async range(step: Step, from: number, to: number): Promise<Float64Array> {
    await this.fetch(step, from, to);
    const found = new Float64Array(to - from);
    for (let i = from; i < to; i++) found[i - from] = this.peek(step, i) ?? NaN;
    return found;
  }

  /** One number. */
  async one(step: Step, flat: number): Promise<number> {
    await this.fetch(step, flat, flat + 1);
    return this.peek(step, flat) ?? NaN;
  }

  private begin(step: Step): number {
    if (!step.bytes) throw new Error(`the value of ${step.address} was not kept in this trace`);
    return step.bytes[0];
  }

  private tile(at: number, end: number): Promise<void> {
    let coming = this.coming.get(at);
    if (!coming) {
      coming = this.bytes(at, end)
        .then((buffer) => {
          if (this.tiles.size >= KEPT_TILES) this.tiles.delete(this.tiles.keys().next().value!);
          this.tiles.set(at, new DataView(buffer));
        })
        .finally(() => this.coming.delete(at));
      this.coming.set(at, coming);
    }
    return coming;
  }
}
