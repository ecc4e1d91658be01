/** Round numbers along an axis; a test holds them to those of d3-array. */

/** What lies 1, 2 or 5 times a power of ten apart, about `count` times from `low` to `high`: the i-th is `at(i)`. */
function rounded(low: number, high: number, count: number) {
  const step = (high - low) / count;
  const power = Math.floor(Math.log10(step));
  const over = (step / 10 ** power) ** 2;
  const factor = over >= 50 ? 10 : over >= 10 ? 5 : over >= 2 ? 2 : 1;
  // one of both is 1, so that both are whole
  const [by, per] = power < 0 ? [1, 10 ** -power / factor] : [10 ** power * factor, 1];
  const at = (i: number) => (i * by) / per;
  const [first, last] = [low, high].map((end) => Math.round((end * per) / by));
  return { at, first, last, apart: by / per };
}

/** The round numbers from `low` to `high`, about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const { at, first, last } = rounded(low, high, count);
  const from = first + Number(at(first) < low);
  const to = last - Number(at(last) > high);
  return Array.from({ length: to - from + 1 }, (_, i) => at(from + i));
}

/** The round numbers next to `low` and `high`, outside. */
export function nice(low: number, high: number, count: number): [number, number] {
  const { at, first, last, apart } = rounded(low, high, count);
  const below = at(first - Number(at(first) > low));
  const above = at(last + Number(at(last) < high));
  return rounded(below, above, count).apart > apart ? nice(below, above, count) : [below, above];
}

/** The least and the greatest number, of none infinities; what is no number is passed over. */
export function extent(values: Iterable<number>): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
