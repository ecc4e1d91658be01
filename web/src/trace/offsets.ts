/** Numbers by their offset in a value, in the order in which they came: one by one, or a whole column at once. */
export class ByOffset {
  private column: { offsets: Float64Array; values: Float64Array } | null = null;
  private single: Map<number, number> | null = null;

  get size(): number {
    return this.column?.offsets.length ?? this.single?.size ?? 0;
  }

  /** The offset that came i-th. */
  offset(i: number): number {
    if (this.column) return this.column.offsets[i];
    this.order ??= [...this.map.keys()];
    return this.order[i];
  }
  private order: number[] | null = null;

  get(offset: number): number | undefined {
    return this.map.get(offset);
  }

  /** The number at the offset that came i-th. */
  at(i: number): number {
    return this.column ? this.column.values[i] : this.map.get(this.offset(i))!;
  }

  set(offset: number, value: number): void {
    this.map.set(offset, value);
    this.order = null;
  }

  /** Take numbers at many offsets. */
  add(offsets: Float64Array, values: Float64Array): void {
    if (!this.size && isRising(offsets)) this.column = { offsets, values };
    else offsets.forEach((offset, i) => this.set(offset, values[i]));
  }

  /** Add numbers to what is there, at offsets of which some may be the same. */
  addUp(offsets: Float64Array, values: Float64Array): void {
    if (!this.size && isRising(offsets)) this.column = { offsets, values };
    else offsets.forEach((offset, i) => this.set(offset, (this.map.get(offset) ?? 0) + values[i]));
  }

  *[Symbol.iterator](): Generator<[number, number]> {
    for (let i = 0; i < this.size; i++) yield [this.offset(i), this.at(i)];
  }

  /** By offset; a column becomes one when it is asked for single offsets. */
  private get map(): Map<number, number> {
    this.single ??= new Map();
    if (this.column) {
      const { offsets, values } = this.column;
      this.column = null;
      offsets.forEach((offset, i) => this.single!.set(offset, values[i]));
    }
    return this.single;
  }
}

function isRising(offsets: Float64Array): boolean {
  for (let i = 1; i < offsets.length; i++) if (offsets[i] <= offsets[i - 1]) return false;
  return true;
}
