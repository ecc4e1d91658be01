/** Two traces beside each other: what tells them apart, and the numbers after their last tokens. */
import type { RunSummary } from "../../../api";
import type { About, Opened } from "../../../source";
import type { TraceNode } from "../../../trace/node";
import type { Trace } from "../../../trace/trace";

/** What a side is called: only what differs from the other. */
export function nameOf(about: About, other: About, runs: RunSummary[]): string {
  const parts = [
    about.prompt !== other.prompt && `“${about.prompt}”`,
    about.run !== other.run && (runs.find(({ id }) => id === about.run)?.name ?? about.run),
    about.at_step !== other.at_step &&
      (about.at_step === null ? "the last step" : `step ${about.at_step}`),
    Object.keys(about.edits).length > 0 && "with edits",
  ];
  return parts.filter(Boolean).join(", ") || "as it is";
}

/** The numbers [from the last position on] of a value whose second axis is the position. */
function lastOf(trace: Trace, node: TraceNode): Promise<Float64Array> {
  const [, n, ...rest] = node.shape;
  const width = rest.reduce((a, b) => a * b, 1);
  return trace.values.range(node, (n - 1) * width, n * width);
}

export interface TokenPair {
  token: string;
  /** Token ids on both sides; null where a side's vocabulary lacks the token. */
  ids: [number | null, number | null];
  probs: [number, number];
}

const alike = (one: string[], two: string[]): boolean =>
  one.length === two.length && one.every((word, id) => word === two[id]);

/** The tokens that are most probable on either side, matched by id in one vocabulary and by their text across two. */
export async function leading(one: Opened, two: Opened, count: number): Promise<TokenPair[]> {
  const sides = [one, two];
  const probs = await Promise.all(sides.map(({ trace }) => lastOf(trace, trace.node("fwd/probs"))));
  const words = sides.map(({ trace }) => trace.table.labels.vocab ?? []);
  const same = one.about.run === two.about.run || alike(words[0], words[1]);
  const indices = same
    ? []
    : words.map((list) => new Map(list.map((word, id): [string, number] => [word, id]).reverse()));
  const across = (id: number, from: 0 | 1): number | null =>
    same ? id : (indices[1 - from].get(words[from][id]) ?? null);
  const best = probs.map((values) =>
    [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count),
  );
  const pairs: TokenPair["ids"][] = [
    ...best[0].map((id): TokenPair["ids"] => [id, across(id, 0)]),
    ...best[1].map((id): TokenPair["ids"] => [across(id, 1), id]),
  ];
  const unique = new Map(pairs.map((ids) => [ids.join(), ids]));
  const rows = [...unique.values()].map((ids): TokenPair => {
    const token = words[0][ids[0] ?? -1] ?? words[1][ids[1] ?? -1] ?? `#${ids[0] ?? ids[1]}`;
    return { token, ids, probs: [probs[0][ids[0] ?? -1] ?? 0, probs[1][ids[1] ?? -1] ?? 0] };
  });
  return rows.sort((a, b) => Math.max(...b.probs) - Math.max(...a.probs)).slice(0, count);
}

const BLOCK = "fwd/blocks.0.";
const withoutPos = (node: TraceNode): string => [node.axes[1], ...node.shape.slice(2)].join();

/** Names of values that every block has and both sides can be compared in. */
export function comparable(one: Trace, two: Trace, lastOnly: boolean): string[] {
  return one
    .ofKind("fwd")
    .filter((node) => node.address.startsWith(BLOCK))
    .filter((node) => {
      const match = two.nodes.get(node.address);
      if (!match?.bytes || !node.bytes) return false;
      return lastOnly
        ? node.axes[1] === "pos" && withoutPos(match) === withoutPos(node)
        : match.shape.join() === node.shape.join();
    })
    .map((node) => node.address.slice(BLOCK.length));
}

/** How far the last position's numbers moved: the length of the change over the length before. */
export async function lastMoved(one: Trace, two: Trace, path: string): Promise<number | null> {
  if (!one.has(path) || !two.has(path)) return null;
  const [was, is] = await Promise.all([lastOf(one, one.node(path)), lastOf(two, two.node(path))]);
  const length = (values: Float64Array) => Math.hypot(...values);
  return length(was.map((value, i) => is[i] - value)) / length(was);
}
