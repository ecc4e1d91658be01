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

const KEPT_TILES = 4096;

/** The numbers of a trace, fetched in tiles when they are asked for; the tiles used last are kept. */
export class Values {
  /** Told when numbers could not be read. */
  onfailure: (error: Error) => void = () => {};
  private tiles = new Map<number, DataView>();
  private coming = new Map<number, Promise<DataView>>();

  constructor(private bytes: Bytes, private tileBytes: number) {}

  /** One number, or undefined while its tile is not here. */
  peek(step: Step, flat: number): number | undefined {
    if (flat < 0 || flat >= size(step)) return undefined;
    const { bytes, read } = DTYPES[step.dtype];
    const inside = flat * bytes;
    const k = Math.floor(inside / this.tileBytes);
    const tile = this.tiles.get(begin(step) + k * this.tileBytes);
    return tile && read(tile, inside - k * this.tileBytes);
  }

  /** Fetch what is missing of the elements [from, to) of a value. */
  async fetch(step: Step, from: number, to: number): Promise<void> {
    await this.held(step, from, to);
  }

  /** Fetch what is missing of single elements, each tile once. */
  async fetchEach(wanted: [Step, number][]): Promise<void> {
    const tiles = new Map<number, Step>();
    for (const [step, flat] of wanted) {
      const k = Math.floor((flat * DTYPES[step.dtype].bytes) / this.tileBytes);
      tiles.set(begin(step) + k * this.tileBytes, step);
    }
    await Promise.all([...tiles].map(([at, step]) => this.tile(at, step)));
  }

  /** A whole value as doubles, row-major. */
  async all(step: Step): Promise<Float64Array> {
    return this.range(step, 0, size(step));
  }

  /** The elements [from, to) of a value, as doubles. */
  async range(step: Step, from: number, to: number): Promise<Float64Array> {
    const { bytes, read } = DTYPES[step.dtype];
    const tiles = await this.held(step, from, to);
    const first = Math.floor((from * bytes) / this.tileBytes);
    const found = new Float64Array(to - from);
    for (let i = from; i < to; i++) {
      const k = Math.floor((i * bytes) / this.tileBytes);
      found[i - from] = read(tiles[k - first], i * bytes - k * this.tileBytes);
    }
    return found;
  }

  /** One number. */
  async one(step: Step, flat: number): Promise<number> {
    return (await this.range(step, flat, flat + 1))[0];
  }

  private held(step: Step, from: number, to: number): Promise<DataView[]> {
    const { bytes } = DTYPES[step.dtype];
    const wanted: Promise<DataView>[] = [];
    for (let k = Math.floor((from * bytes) / this.tileBytes); k * this.tileBytes < to * bytes; k++) {
      wanted.push(this.tile(begin(step) + k * this.tileBytes, step));
    }
    return Promise.all(wanted);
  }

  private tile(at: number, step: Step): Promise<DataView> {
    const here = this.tiles.get(at);
    if (here) {
      this.keep(at, here);
      return Promise.resolve(here);
    }
    let coming = this.coming.get(at);
    if (!coming) {
      coming = this.bytes(at, Math.min(at + this.tileBytes, step.bytes![1]))
        .then((buffer) => this.keep(at, new DataView(buffer)))
        .catch((error: Error) => {
          this.onfailure(error);
          throw error;
        })
        .finally(() => this.coming.delete(at));
      this.coming.set(at, coming);
    }
    return coming;
  }

  /** Hold on to a tile as the one used last, and let the one go that was not used for longest. */
  private keep(at: number, tile: DataView): DataView {
    this.tiles.delete(at);
    this.tiles.set(at, tile);
    if (this.tiles.size > KEPT_TILES) this.tiles.delete(this.tiles.keys().next().value!);
    return tile;
  }
}

function begin(step: Step): number {
  if (!step.bytes) throw new Error(`the value of ${step.address} was not kept in this trace`);
  return step.bytes[0];
}
