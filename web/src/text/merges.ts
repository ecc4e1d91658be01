/** Byte-pair encoding of a word (Sennrich et al. 2016): the pair that was learned first is joined, again and again. */
import { byteName, utf8 } from "./spelling";

export interface BPE {
  vocab: Record<string, number>;
  merges: [string, string][];
  byte_fallback: boolean;
}

export interface Pair {
  left: string;
  right: string;
  /** Its place among the learned merges; null: the pair was never learned. */
  rank: number | null;
}

interface Merge extends Pair {
  rank: number;
  /** The word's pieces after it. */
  after: string[];
}

export class MergeTable {
  private ranks: Map<string, Map<string, number>> = new Map();

  constructor(private model: BPE) {
    model.merges.forEach(([left, right], rank) => {
      const known = this.ranks.get(left) ?? new Map<string, number>();
      this.ranks.set(left, known.set(right, rank));
    });
  }

  /** The pieces that a word's merges start from: its characters, or the bytes of one that is no token. */
  start(word: string): string[] {
    const { vocab, byte_fallback } = this.model;
    return [...word].flatMap((letter) => {
      if (Object.hasOwn(vocab, letter)) return [letter];
      return byte_fallback ? Array.from(utf8(letter), byteName) : [];
    });
  }

  /** All neighbors in a word. */
  pairs = (pieces: string[]): Pair[] =>
    pieces.slice(1).map((right, i) => ({
      left: pieces[i],
      right,
      rank: this.ranks.get(pieces[i])?.get(right) ?? null,
    }));

  /** The merges of a word, always the lowest rank, then the leftmost. */
  *replay(pieces: string[]): Generator<Merge> {
    for (;;) {
      let at = -1;
      let first = Infinity;
      const pairs = this.pairs(pieces);
      pairs.forEach(({ rank }, i) => {
        if (rank !== null && rank < first) [at, first] = [i, rank];
      });
      if (at < 0) return;
      const { left, right } = pairs[at];
      pieces = [...pieces.slice(0, at), left + right, ...pieces.slice(at + 2)];
      yield { left, right, rank: first, after: pieces };
    }
  }
}

/** The pieces of a word after all its merges. */
export const merged = (merges: Iterable<Merge>, start: string[]): string[] =>
  [...merges].at(-1)?.after ?? start;
