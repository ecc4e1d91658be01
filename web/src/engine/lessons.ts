/** What a training in the page learns from: a text cut into rows, blanks in a text, pairs of sentences. */
import type { Texts } from "./texts";
import type { Batch } from "./trainer";
import { uniform } from "./uniform";

/** The batch of an update, by how many there were before. */
type Batches = (done: number) => Batch;

const ROWS = 8;
const HIDDEN = 0.15; // of a row's tokens, as in Python's `training.masking`
const ARROW = /\t|→|->|=>/;

/** Batches of a text, as this kind of model learns from one. */
export function batches(texts: Texts, text: string, seed: number): Batches {
  const { reads } = texts.packed;
  if (!reads) return rows(texts, text, seed);
  return reads.start === null ? blanks(texts, text, seed) : pairs(texts, text, seed);
}

/** Rows of a text, each asked for its own next tokens. */
function rows({ packed, tokenizer, n_ctx }: Texts, text: string, seed: number): Batches {
  const ids = [...packed.begin, ...tokenizer.encode(text)];
  if (ids.length < 2)
    throw new Error("one token has no next one to learn from; give a longer text");
  const pos = Math.min(n_ctx, ids.length - 1);
  const starts = ids.length - pos; // where a row can begin, so that its last token has a next one
  const batch = starts === 1 ? 1 : ROWS;
  return (done) => {
    const from = Array.from({ length: batch }, (_, row) =>
      Math.floor(uniform(seed, done * ROWS + row) * starts),
    );
    const shifted = (by: number) =>
      Float64Array.from(from.flatMap((at) => ids.slice(at + by, at + by + pos)));
    return { lengths: { batch, pos }, ids: shifted(0), targets: shifted(1) };
  };
}

/** Rows of a text, some of whose tokens are hidden and asked for. */
function blanks({ packed, tokenizer, n_ctx }: Texts, text: string, seed: number): Batches {
  const { begin, ignored, reads } = packed;
  const { after, mask } = reads!;
  const ids = tokenizer.encode(text);
  if (ids.length < 2) throw new Error("one token has no others to tell it by; give a longer text");
  const n = Math.min(n_ctx - begin.length - after.length, ids.length);
  const pos = begin.length + n + after.length;
  const hidden = Math.max(1, Math.round(HIDDEN * n));
  return (done) => {
    const shown: number[] = [];
    const asked: number[] = [];
    for (let row = 0; row < ROWS; row++) {
      const at = (k: number) => uniform(seed, (done * ROWS + row) * (n + 1) + k);
      const from = Math.floor(at(n) * (ids.length - n + 1));
      const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => at(a) - at(b));
      const isHidden = new Set(order.slice(0, hidden));
      const part = ids.slice(from, from + n);
      shown.push(...begin, ...part.map((id, i) => (isHidden.has(i) ? mask! : id)), ...after);
      const none = (some: number[]) => some.map(() => ignored);
      asked.push(
        ...none(begin),
        ...part.map((id, i) => (isHidden.has(i) ? id : ignored)),
        ...none(after),
      );
    }
    const lengths = { batch: ROWS, pos };
    return { lengths, ids: Float64Array.from(shown), targets: Float64Array.from(asked) };
  };
}

/** Pairs of sentences, one to a line and one to an update. */
function pairs(texts: Texts, text: string, seed: number): Batches {
  const lines = text.split("\n").filter((line) => line.trim());
  const { end } = texts.packed.reads!;
  const known = lines.map((line) => {
    const [source, target, ...more] = line.split(ARROW);
    if (target === undefined || more.length || !target.trim())
      throw new Error(
        `“${line.trim()}” is no pair of sentences; write one pair to a line, with → between them`,
      );
    const ids = texts.tokenizer.encode(target);
    if (ids.length >= texts.n_ctx)
      throw new Error(
        `“${target.trim()}” has ${ids.length} tokens, and this model writes at most ${texts.n_ctx - 1}; shorten it`,
      );
    return texts.pair(texts.sourceOf(source), ids, end ?? texts.packed.ignored);
  });
  if (!known.length) throw new Error("there is no pair of sentences to learn from; give one");
  return (done) => known[Math.floor(uniform(seed, done) * known.length)];
}
