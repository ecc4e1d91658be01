/** What is read: a request's text as ids, and what is asked of them. */
import type { PackedModel, TokenizedText } from "../api";
import type { Request } from "../source";
import { Tokenizer, type TokenizerFile } from "../text/tokenizer";
import type { Batch } from "./trainer";

const LONGEST_TEXT = 2000; // its merges take its square to write out

export type Asked = Pick<Request, "prompt" | "added" | "written" | "target">;

export class Texts {
  readonly tokenizer: Tokenizer;

  constructor(
    readonly packed: PackedModel,
    readonly n_ctx: number,
  ) {
    this.tokenizer = new Tokenizer(packed.tokenizer as unknown as TokenizerFile);
  }

  /** A prompt as the only row of a batch; `translate` gives a source's translation where none is given so far. */
  batchOf(request: Asked, translate: (source: number[]) => number[]): Batch {
    const { ignored, reads } = this.packed;
    const target = this.targetOf(request);
    if (reads?.start != null) {
      const source = this.sourceOf(request.prompt);
      const written = request.written ?? translate(source);
      if (written.length >= this.n_ctx)
        throw new Error(
          `the translation has ${written.length} tokens so far, and this model writes at most ${this.n_ctx - 1}; take some back`,
        );
      const last = target ?? (request.written ? null : reads.end);
      return this.pair(source, written, last ?? ignored);
    }
    const ids = this.idsOf(request);
    const targets = reads ? this.blanks(ids, target) : [...ids.slice(1), target ?? ignored];
    const lengths = { batch: 1, pos: ids.length };
    return { lengths, ids: Float64Array.from(ids), targets: Float64Array.from(targets) };
  }

  /** A source, and its target behind the start token, each token asked for after the one before it. */
  pair(source: number[], target: number[], last: number): Batch {
    const lengths = { batch: 1, pos: target.length + 1, source_pos: source.length };
    return {
      lengths,
      ids: Float64Array.of(this.packed.reads!.start!, ...target),
      targets: Float64Array.of(...target, last),
      source: Float64Array.from(source),
    };
  }

  targetOf = ({ target }: Pick<Asked, "target">): number | null =>
    target == null ? null : this.tokenizer.only(target);

  /** The position whose prediction is looked at: the first blank, else the last token. */
  predictedAt(ids: number[]): number {
    const blank = ids.indexOf(this.packed.reads?.mask ?? -1);
    return blank < 0 ? ids.length - 1 : blank;
  }

  /** A text to translate, with its end. */
  sourceOf(text: string): number[] {
    const { after, source_n_ctx } = this.packed.reads!;
    const ids = this.tokenizer.encode(text);
    const source = [...this.packed.begin, ...ids, ...after];
    if (!ids.length || source.length > source_n_ctx!)
      throw new Error(
        `“${text}” has ${source.length} tokens with the end, and this model reads 2 to ${source_n_ctx}; give another sentence`,
      );
    return source;
  }

  /** A target in the text's one blank. */
  private blanks(ids: number[], target: number | null): number[] {
    const { ignored, reads } = this.packed;
    const { mask, masks } = reads!;
    const hidden = ids.filter((id) => id === mask).length;
    if (target !== null && hidden !== 1)
      throw new Error(
        `an encoder learns what a blank hides, and here is no one blank with its word; write ${masks[0]} for one word of the text and name it as the target`,
      );
    return ids.map((id) => (id === mask ? (target ?? ignored) : ignored));
  }

  private idsOf({ prompt, added = [] }: Asked): number[] {
    const ids = [...this.framed(prompt), ...added];
    if (!ids.length)
      throw new Error(
        "the prompt has no tokens, and the model can only go on from one; give it some text",
      );
    if (ids.length > this.n_ctx)
      throw new Error(
        `the prompt has ${ids.length} tokens and the model reads at most n_ctx=${this.n_ctx}; shorten it by ${ids.length - this.n_ctx}`,
      );
    return ids;
  }

  /** A text's tokens with those that stand around every text. */
  private framed(text: string): number[] {
    const { begin, reads } = this.packed;
    if (!reads) return [...begin, ...this.tokenizer.encode(text)];
    return [...begin, ...this.tokenizer.encodeSpecial(this.masked(text)), ...reads.after];
  }

  /** The text, in which every usual way to write a blank is this model's. */
  private masked(text: string): string {
    const { mask, masks } = this.packed.reads!;
    const name = mask === null ? "" : this.tokenizer.names[mask];
    return masks.reduce((all, usual) => all.replaceAll(usual, name || usual), text);
  }

  /** The prompt with the text of the tokens that were added to it. */
  textOf({ prompt, added = [] }: Asked, ids: number[]): string {
    if (!added.length) return prompt;
    const before = this.tokenizer.decode(ids.slice(0, -added.length));
    const text = this.tokenizer.decode(ids);
    return text.startsWith(before) ? prompt + text.slice(before.length) : text;
  }

  get vocabulary(): string[] {
    return this.tokenizer.names.map((_, id) => this.tokenizer.token(id));
  }

  /** A token's text; models may have more rows than their tokenizer has tokens. */
  name = (id: number): string => (id < this.tokenizer.size ? this.tokenizer.token(id) : `<${id}>`);

  /** Every step from a text to its ids. */
  tokenize(text: string): TokenizedText {
    if (text.length > LONGEST_TEXT)
      throw new Error(
        `the text has ${text.length} characters; its merges are shown for up to ${LONGEST_TEXT}, so shorten it`,
      );
    const { reads } = this.packed;
    return this.tokenizer.trace(text, reads && reads.start === null ? this.masked(text) : null);
  }
}
