import { BYTES, READ, type Numbers } from "./dtype";
import { size, strides, type TraceNode } from "./node";

/** Where a trace's numbers come from. */
export interface Reader {
  /** Bytes [begin, end) of its values file. */
  bytes(begin: number, end: number): Promise<ArrayBuffer>;
  /** The elements [begin, end) of one value, or of every block of them that of largest magnitude; a server has it. */
  part?(address: string, begin: number[], end: number[], block: number[]): Promise<ArrayBuffer>;
}

const TILES_AT_ONCE = 16; // the most bytes that a server gives in one answer
const KEPT_TILES = 4096;
const KEPT_PARTS = 512;
const KEPT_SINGLE = 1 << 19; // numbers of parts, each on its own

/** A tile that is waited for: bytes [begin, end). */
interface Asked {
  begin: number;
  end: number;
  take: (bytes: ArrayBuffer) => void;
  fail: (error: Error) => void;
}

/** The numbers of a trace, fetched when they are asked for, in tiles or in parts; those used last are kept. */
export class Values {
  /** Told when numbers could not be read. */
  onfailure: (error: Error) => void = () => {};
  private tiles = new Map<number, Numbers>();
  private coming = new Map<number, Promise<Numbers>>();
  private asked: Asked[] = [];
  private parts = new Map<string, Promise<Numbers>>();
  private single = new Map<TraceNode, Map<number, number>>();

  constructor(
    private reader: Reader,
    private tileBytes: number,
  ) {}

  /** One number, or undefined while it is not here. */
  peek(node: TraceNode, flat: number): number | undefined {
    const bytes = BYTES[node.dtype];
    if (flat < 0 || begin(node) + flat * bytes >= node.bytes![1]) return undefined;
    const each = this.tileBytes / bytes;
    const k = Math.floor(flat / each);
    const tile = this.tiles.get(begin(node) + k * this.tileBytes);
    return tile ? tile[flat - k * each] : this.single.get(node)?.get(flat);
  }

  /** Put the numbers at some places into `found`; the places of those that are not here. */
  gather(node: TraceNode, offsets: Float64Array, result: Float64Array): number[] {
    const each = this.tileBytes / BYTES[node.dtype];
    const missing: number[] = [];
    let [first, tile]: [number, Numbers | undefined] = [0, undefined];
    for (let i = 0; i < offsets.length; i++) {
      const within = offsets[i] - first;
      if (tile && within >= 0 && within < tile.length) result[i] = tile[within];
      else {
        const k = Math.floor(offsets[i] / each);
        [first, tile] = [k * each, this.tiles.get(begin(node) + k * this.tileBytes)];
        const value = this.peek(node, offsets[i]);
        if (value === undefined) missing.push(offsets[i]);
        else result[i] = value;
      }
    }
    return missing;
  }

  /** Fetch what is missing of the elements [from, to) of a value. */
  async fetch(node: TraceNode, from: number, to: number): Promise<void> {
    await this.held(node, from, to);
  }

  /** Fetch what is missing of single elements, each tile once. */
  async fetchEach(wanted: [TraceNode, number][]): Promise<void> {
    const tiles = new Map<number, TraceNode>();
    for (const [node, flat] of wanted) {
      const k = Math.floor((flat * BYTES[node.dtype]) / this.tileBytes);
      tiles.set(begin(node) + k * this.tileBytes, node);
    }
    await Promise.all([...tiles].map(([at, node]) => this.tile(at, node)));
  }

  /** Fetch what is missing of the elements [from, to) along every axis: a column touches a tile for each few rows, and is one part. */
  async fetchBox(node: TraceNode, from: number[], to: number[]): Promise<void> {
    const tiles = this.missing(node, from, to);
    const parts = this.reader.part ? split(from, to, this.tileBytes / BYTES[node.dtype]) : [];
    if (!parts.length || tiles.size <= parts.length + 1)
      await Promise.all([...tiles].map((at) => this.tile(at, node)));
    else {
      const result = await Promise.all(parts.map(([one, other]) => this.part(node, one, other)));
      this.makeRoom(); // once: a box does not throw its own first parts away
      parts.forEach(([one, other], i) => this.scatter(node, one, other, result[i]));
    }
  }

  /** Of every block of the elements [from, to) the number of largest magnitude: found by the server, or here where the numbers are. */
  async blocks(node: TraceNode, from: number[], to: number[], block: number[]): Promise<Numbers> {
    if (this.reader.part && block.some((side) => side > 1) && this.missing(node, from, to).size > 1)
      return this.part(node, from, to, block);
    await this.fetchBox(node, from, to);
    const counts = block.map((side, d) => Math.ceil((to[d] - from[d]) / side));
    const result = new Float64Array(counts.reduce((a, b) => a * b, 1)).fill(-Infinity);
    const by = strides(node);
    const turn = (d: number, flat: number, index: number): void => {
      if (d === by.length) result[index] = larger(result[index], this.peek(node, flat)!);
      else
        for (let i = from[d]; i < to[d]; i++)
          turn(d + 1, flat + i * by[d], index * counts[d] + Math.floor((i - from[d]) / block[d]));
    };
    turn(0, 0, 0);
    return result;
  }

  /** A whole value as doubles, row-major. */
  async all(node: TraceNode): Promise<Float64Array> {
    return this.range(node, 0, size(node));
  }

  /** The elements [from, to) of a value, as doubles. */
  async range(node: TraceNode, from: number, to: number): Promise<Float64Array> {
    const each = this.tileBytes / BYTES[node.dtype];
    const first = Math.floor(from / each);
    const result = new Float64Array(to - from);
    (await this.held(node, from, to)).forEach((tile, k) => {
      const start = (first + k) * each;
      result.set(tile.subarray(Math.max(from - start, 0), to - start), Math.max(start - from, 0));
    });
    return result;
  }

  /** One number. */
  async one(node: TraceNode, flat: number): Promise<number> {
    return (await this.range(node, flat, flat + 1))[0];
  }

  private held(node: TraceNode, from: number, to: number): Promise<Numbers[]> {
    const bytes = BYTES[node.dtype];
    const wanted: Promise<Numbers>[] = [];
    for (
      let k = Math.floor((from * bytes) / this.tileBytes);
      k * this.tileBytes < to * bytes;
      k++
    ) {
      wanted.push(this.tile(begin(node) + k * this.tileBytes, node));
    }
    return Promise.all(wanted);
  }

  /** Where the tiles begin that a box touches and that are not here. */
  private missing(node: TraceNode, from: number[], to: number[]): Set<number> {
    const bytes = BYTES[node.dtype];
    const result = new Set<number>();
    const last = from.length - 1;
    const rows = to.map((end, d) => (d === last ? from[d] + 1 : end));
    each(node, from, rows, (flat) => {
      const end = flat + (last < 0 ? 1 : to[last] - from[last]);
      for (
        let k = Math.floor((flat * bytes) / this.tileBytes);
        k * this.tileBytes < end * bytes;
        k++
      ) {
        const at = begin(node) + k * this.tileBytes;
        if (!this.tiles.has(at)) result.add(at);
      }
    });
    return result;
  }

  private part(
    node: TraceNode,
    from: number[],
    to: number[],
    block: number[] = from.map(() => 1),
  ): Promise<Numbers> {
    const key = [node.address, from, to, block].join(";");
    const result =
      this.parts.get(key) ??
      this.reported(this.reader.part!(node.address, from, to, block).then(READ[node.dtype]));
    keep(this.parts, key, result, KEPT_PARTS);
    result.catch(() => this.parts.delete(key));
    return result;
  }

  private makeRoom(): void {
    let held = 0;
    for (const known of this.single.values()) held += known.size;
    if (held > KEPT_SINGLE) this.single.clear();
  }

  private scatter(node: TraceNode, from: number[], to: number[], numbers: Numbers): void {
    const known = this.single.get(node) ?? this.single.set(node, new Map()).get(node)!;
    let i = 0;
    each(node, from, to, (flat) => known.set(flat, numbers[i++]));
  }

  private tile(at: number, node: TraceNode): Promise<Numbers> {
    const here = this.tiles.get(at);
    if (here) {
      keep(this.tiles, at, here, KEPT_TILES);
      return Promise.resolve(here);
    }
    let coming = this.coming.get(at);
    if (!coming) {
      coming = this.reported(this.bytes(at, Math.min(at + this.tileBytes, node.bytes![1])))
        .then((buffer) => {
          const tile = READ[node.dtype](buffer);
          keep(this.tiles, at, tile, KEPT_TILES);
          return tile;
        })
        .finally(() => this.coming.delete(at));
      this.coming.set(at, coming);
    }
    return coming;
  }

  /** Bytes of a tile; neighbors that are asked for at once come in one answer. */
  private bytes(begin: number, end: number): Promise<ArrayBuffer> {
    return new Promise((take, fail) => {
      if (!this.asked.length) queueMicrotask(() => this.send());
      this.asked.push({ begin, end, take, fail });
    });
  }

  private send(): void {
    const asked = this.asked.sort((one, other) => one.begin - other.begin);
    this.asked = [];
    while (asked.length) {
      let n = 1;
      while (n < TILES_AT_ONCE && asked[n]?.begin === asked[n - 1].end) n++;
      const tiles = asked.splice(0, n);
      const { begin } = tiles[0];
      this.reader.bytes(begin, tiles.at(-1)!.end).then(
        (buffer) =>
          tiles.forEach((tile) => tile.take(buffer.slice(tile.begin - begin, tile.end - begin))),
        (error: Error) => tiles.forEach((tile) => tile.fail(error)),
      );
    }
  }

  private reported<T>(answer: Promise<T>): Promise<T> {
    return answer.catch((error: Error) => {
      this.onfailure(error);
      throw error;
    });
  }
}

/** Hold on to something as what was used last, and let go of what was not used for longest. */
function keep<K, V>(held: Map<K, V>, key: K, value: V, most: number): void {
  held.delete(key);
  held.set(key, value);
  if (held.size > most) held.delete(held.keys().next().value!);
}

/** Visit the elements [from, to) along every axis, row-major. */
function each(node: TraceNode, from: number[], to: number[], visit: (flat: number) => void): void {
  const by = strides(node);
  const turn = (d: number, flat: number): void => {
    if (d === by.length) visit(flat);
    else for (let i = from[d]; i < to[d]; i++) turn(d + 1, flat + i * by[d]);
  };
  turn(0, 0);
}

/** A box cut into boxes of at most so many elements, halved along its longest side. */
function split(from: number[], to: number[], most: number): [number[], number[]][] {
  const sides = to.map((end, d) => end - from[d]);
  if (sides.reduce((a, b) => a * b, 1) <= most) return [[from, to]];
  const d = sides.indexOf(Math.max(...sides));
  const middle = from[d] + Math.ceil(sides[d] / 2);
  return [...split(from, to.with(d, middle), most), ...split(from.with(d, middle), to, most)];
}

/** Of two numbers that of larger magnitude; a nan before all, -inf (a masked score) after all. */
export function larger(one: number, other: number): number {
  if (Number.isNaN(one) || other === -Infinity) return one;
  const [was, is] = [Math.abs(one), Math.abs(other)];
  return one === -Infinity || Number.isNaN(is) || is > was || (is === was && other > one)
    ? other
    : one;
}

function begin(node: TraceNode): number {
  if (!node.bytes) throw new Error(`the value of ${node.address} was not kept in this trace`);
  return node.bytes[0];
}
