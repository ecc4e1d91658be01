/**
 * Text to token ids and back, from a run's own tokenizer.json: words, characters, byte-level BPE.
 * The same ids and the same steps as Python's `text.tokenizer` (tests/page/test_typescript.py).
 */
import type { TokenizedText } from "../api";
import { merged, MergeTable, type BPE } from "./merges";
import { isByteName, LETTERS, readable, utf8 } from "./spelling";

interface Stage {
  type: string;
  pattern?: { Regex?: string; String?: string };
  content?: string;
  start?: number;
  add_prefix_space?: boolean;
  decoders?: Stage[];
}

/** A tokenizer.json, as far as it is read. */
export interface TokenizerFile {
  added_tokens: { id: number; content: string; special: boolean }[];
  normalizer: Stage | null;
  pre_tokenizer: Stage | null;
  decoder: Stage | null;
  model: ({ type: "WordLevel"; unk_token: string } | ({ type: "BPE" } & BPE)) & {
    vocab: Record<string, number>;
  };
}

type Step = TokenizedText["steps"][number];

/** How one word became ids: the pieces that its merges start from (null: nothing merges), its tokens. */
interface Word {
  text: string;
  /** As it stands in the text, before its case was lowered. */
  written: string;
  start: string[] | null;
  names: string[];
}

export class Tokenizer {
  readonly names: string[] = [];
  private special: Set<string>;
  private ids: Map<string, number>;
  private table: MergeTable | null;
  private split: (text: string) => Cut[];
  private spell: (name: string) => Uint8Array;
  private idOfText: Map<string, number>;

  constructor(private file: TokenizerFile) {
    const { model, added_tokens: added } = file;
    this.ids = new Map(Object.entries(model.vocab));
    for (const { id, content } of added) this.ids.set(content, id);
    for (const [name, id] of this.ids) this.names[id] = name;
    this.special = new Set(added.filter(({ special }) => special).map(({ content }) => content));
    this.table = model.type === "BPE" ? new MergeTable(model) : null;
    this.split = splitter(file.pre_tokenizer);
    this.spell = spelling(file);
    this.idOfText = new Map(this.names.map((_, id) => [this.token(id), id] as const).toReversed());
  }

  get size(): number {
    return this.names.length;
  }

  /** A token's text; bytes that are no whole character are named. */
  token(id: number): string {
    return this.show(this.names[id]);
  }

  /** The bytes that a token stands for: none for a special one and for that of unknown words. */
  bytes(id: number): Uint8Array {
    const name = this.names[id];
    return this.special.has(name) || name === this.unknown ? new Uint8Array() : this.spell(name);
  }

  encode(text: string): number[] {
    return this.idsOf(this.words(text));
  }

  /** The ids of a text in which the names of special tokens are these: a blank, an end. */
  encodeSpecial(text: string): number[] {
    return this.idsOf(this.wordsAndSpecial(text));
  }

  private read = (text: string, marked: string | null): Word[] =>
    marked === null ? this.words(text) : this.wordsAndSpecial(marked);

  private wordsAndSpecial(text: string): Word[] {
    const names = [...this.special].sort((a, b) => b.length - a.length);
    const any = names.map((name) => name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("|");
    const parts = any ? text.split(new RegExp(`(${any})`, "u")) : [text];
    return parts.flatMap((part, i) =>
      i % 2 ? [{ text: part, written: part, start: null, names: [part] }] : this.words(part),
    );
  }

  private idsOf = (words: Word[]): number[] =>
    words.flatMap(({ names }) => names.map((name) => this.ids.get(name)!));

  decode(ids: number[]): string {
    const names = ids.map((id) => this.names[id]).filter((name) => !this.special.has(name));
    const stages = this.file.decoder ? (this.file.decoder.decoders ?? [this.file.decoder]) : [];
    if (stages.some(({ type }) => type === "ByteLevel" || type === "ByteFallback"))
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(
        Uint8Array.from(names.flatMap((name) => [...this.spell(name)])),
      );
    return stages.reduce(decoded, names).join("");
  }

  /** The words of a text that the vocabulary lacks, each once, in order. */
  unknownWords(text: string, marked: string | null = null): string[] {
    const unknown = this.read(text, marked).filter(({ names }) =>
      names.includes(this.unknown ?? ""),
    );
    return [...new Set(unknown.map((word) => word.written))];
  }

  /** The one token that a word is: as it is written, else with a space before it, else by name. */
  only(word: string): number {
    const pieces = this.known(word);
    for (const ids of [pieces, this.known(` ${word}`)]) if (ids.length === 1) return ids[0];
    const id = this.idOfText.get(word) ?? this.ids.get(word);
    if (id !== undefined) return id;
    if (pieces.length > 1)
      throw new Error(
        `“${word}” is ${pieces.length} tokens here: ${pieces.map((i) => `“${this.token(i)}”`).join(", ")}; give one of them`,
      );
    throw new Error(`“${word}” is not one of the ${this.size} tokens`);
  }

  /** Every step from a text to its ids; `marked`: the text as it is read, with special tokens in it. */
  trace(text: string, marked: string | null = null): TokenizedText {
    const words = this.read(text, marked);
    const steps: Step[] = [];
    const step = (op: Step["op"], word: number | null, pieces: string[]): Step => {
      const none = { merge: null, considered: [], ids: [] };
      const result = { op, word, pieces: pieces.map((piece) => this.show(piece)), ...none };
      steps.push(result);
      return result;
    };
    if (this.file.pre_tokenizer)
      step("split", null, []).pieces = words.map((word) => this.show(word.text));
    words.forEach(({ start, names }, i) => {
      if (start && this.table) {
        step("split", i, start);
        let before = start;
        for (const { left, right, rank, after } of this.table.replay(start)) {
          const next = step("merge", i, after);
          next.merge = { left: this.show(left), right: this.show(right), rank };
          next.considered = this.table.pairs(before).map((pair) => ({
            left: this.show(pair.left),
            right: this.show(pair.right),
            rank: pair.rank,
          }));
          before = after;
        }
      }
      step("look up", i, names).ids = names.map((name) => this.ids.get(name)!);
    });
    const tokens = this.idsOf(words).map((id) => ({
      id,
      token: this.token(id),
      bytes: [...this.bytes(id)],
      text: this.token(id),
    }));
    return { text, steps, tokens };
  }

  private get unknown(): string | null {
    const { model } = this.file;
    return model.type === "WordLevel" ? model.unk_token : null;
  }

  private show(name: string): string {
    return this.special.has(name) || isByteName(name) ? name : readable(this.spell(name));
  }

  /** The ids of a text; none where it has a word that the vocabulary lacks. */
  private known(text: string): number[] {
    try {
      return this.unknownWords(text).length ? [] : this.encode(text);
    } catch {
      return []; // there is no token to put in its place
    }
  }

  private words(text: string): Word[] {
    const lone = /\p{Surrogate}/u.exec(text);
    if (lone)
      throw new Error(
        `character ${lone.index} of the text is a lone surrogate, which is no character; leave it out`,
      );
    const letters = this.file.normalizer ? [...text] : [text];
    const lower = letters.map((letter) => (this.file.normalizer ? letter.toLowerCase() : letter));
    return this.split(lower.join("")).map(([word, at]) => {
      const written = this.file.normalizer ? between(letters, lower, at, word.length) : word;
      if (this.table) {
        const start = this.table.start(word);
        return { text: word, written, start, names: merged(this.table.replay(start), start) };
      }
      const unknown = this.unknown!;
      if (!this.ids.has(word) && !this.ids.has(unknown))
        throw new Error(
          `“${word}” is not one of this model's ${this.size} words, which are ${this.names.slice(0, 20).join(", ")}`,
        );
      return { text: word, written, start: null, names: [this.ids.has(word) ? word : unknown] };
    });
  }
}

/** The letters whose lower-case forms lie in a stretch of the lowered text. A letter is lowered by itself, as the engine does it: a sigma at a word's end is none of its own. */
function between(letters: string[], lower: string[], from: number, length: number): string {
  let at = 0;
  return letters
    .filter((_, i) => {
      const begin = at;
      at += lower[i].length;
      return begin >= from && begin < from + length;
    })
    .join("");
}

/** What Oniguruma calls white space, which is not what JavaScript's \s is. */
const spaced = (pattern: string): string =>
  pattern.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}");

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** A word as the model sees it, and where it began. */
type Cut = [word: string, at: number];

/** What cuts a text into the words that a pattern finds. */
export function cutter(pattern: string): (text: string) => Cut[] {
  const words = new RegExp(spaced(pattern), "gu");
  return (text) => Array.from(text.matchAll(words), (m): Cut => [m[0], m.index]);
}

/** What cuts a text into words. */
function splitter(stage: Stage | null): (text: string) => Cut[] {
  if (!stage) return (text) => (text ? [[text, 0]] : []);
  const pattern = stage.type === "ByteLevel" ? GPT2 : stage.pattern?.Regex;
  if (!pattern) throw new Error(`this page does not know the pre-tokenizer ${stage.type}`);
  const cut = cutter(pattern);
  if (stage.type !== "ByteLevel") return cut;
  const spelled = (word: string) => Array.from(utf8(word), (byte) => LETTERS[byte]).join("");
  const prefix = (text: string) => (stage.add_prefix_space && !text.startsWith(" ") ? " " : "");
  return (text) => cut(prefix(text) + text).map(([word, at]): Cut => [spelled(word), at]);
}

/** From a token's name to its bytes. */
function spelling({ pre_tokenizer, model }: TokenizerFile): (name: string) => Uint8Array {
  if (pre_tokenizer?.type === "ByteLevel")
    return (name) => {
      const bytes = Array.from(name, (letter) => LETTERS.indexOf(letter));
      return bytes.includes(-1) ? utf8(name) : Uint8Array.from(bytes);
    };
  const named = model.type === "BPE" && model.byte_fallback;
  return (name) =>
    named && isByteName(name) ? Uint8Array.of(parseInt(name.slice(3, 5), 16)) : utf8(name);
}

function decoded(parts: string[], { type, pattern, content = "", start = 0 }: Stage): string[] {
  if (type === "Fuse") return [parts.join("")];
  if (type === "Strip")
    return parts.map((part) => {
      let at = 0;
      while (at < start && part[at] === content) at++;
      return part.slice(at);
    });
  const result = pattern?.Regex ? new RegExp(spaced(pattern.Regex), "gu") : pattern?.String;
  if (type !== "Replace" || !result) throw new Error(`this page does not know the decoder ${type}`);
  return parts.map((part) => part.replaceAll(result, () => content));
}
