/** Numbers by their place in a value, in the order in which they came: one by one, or a whole column at once. */
export class ByPlace {
  private column: { places: Float64Array; values: Float64Array } | null = null;
  private single: Map<number, number> | null = null;

  get size(): number {
    return this.column?.places.length ?? this.single?.size ?? 0;
  }

  /** The place that came i-th. */
  place(i: number): number {
    if (this.column) return this.column.places[i];
    this.order ??= [...this.map.keys()];
    return this.order[i];
  }
  private order: number[] | null = null;

  get(place: number): number | undefined {
    return this.map.get(place);
  }

  /** The number at the place that came i-th. */
  at(i: number): number {
    return this.column ? this.column.values[i] : this.map.get(this.place(i))!;
  }

  set(place: number, value: number): void {
    this.map.set(place, value);
    this.order = null;
  }

  /** Take numbers at many places. */
  add(places: Float64Array, values: Float64Array): void {
    if (!this.size && isRising(places)) this.column = { places, values };
    else places.forEach((place, i) => this.set(place, values[i]));
  }

  /** Add numbers to what is there, at places of which some may be the same. */
  addUp(places: Float64Array, values: Float64Array): void {
    if (!this.size && isRising(places)) this.column = { places, values };
    else places.forEach((place, i) => this.set(place, (this.map.get(place) ?? 0) + values[i]));
  }

  *[Symbol.iterator](): Generator<[number, number]> {
    for (let i = 0; i < this.size; i++) yield [this.place(i), this.at(i)];
  }

  /** By place; a column becomes one when it is asked for single places. */
  private get map(): Map<number, number> {
    this.single ??= new Map();
    if (this.column) {
      const { places, values } = this.column;
      this.column = null;
      places.forEach((place, i) => this.single!.set(place, values[i]));
    }
    return this.single;
  }
}

function isRising(places: Float64Array): boolean {
  for (let i = 1; i < places.length; i++) if (places[i] <= places[i - 1]) return false;
  return true;
}
