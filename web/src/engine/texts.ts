/** What is read: a request's text as ids, and what is asked of them. */
import type { PackedModel, TokenizedText } from "../api";
import type { Request } from "../source";
import { Tokenizer, type TokenizerFile } from "../text/tokenizer";
import type { Batch } from "./trainer";

const LONGEST_TEXT = 2000; // its merges take its square to write out

type Asked = Pick<Request, "prompt" | "added" | "target">;

export class Texts {
  readonly tokenizer: Tokenizer;

  constructor(
    private packed: PackedModel,
    readonly room: number,
  ) {
    this.tokenizer = new Tokenizer(packed.tokenizer as unknown as TokenizerFile);
  }

  /** A prompt as the only row of a batch. */
  batchOf(request: Asked): Batch {
    const ids = this.idsOf(request);
    const targets = [...ids.slice(1), this.targetOf(request) ?? this.packed.ignored];
    const lengths = { batch: 1, pos: ids.length };
    return { lengths, ids: Float64Array.from(ids), targets: Float64Array.from(targets) };
  }

  targetOf = ({ target }: Pick<Asked, "target">): number | null =>
    target == null ? null : this.tokenizer.only(target);

  private idsOf({ prompt, added = [] }: Asked): number[] {
    const ids = [...this.packed.begin, ...this.tokenizer.encode(prompt), ...added];
    if (!ids.length)
      throw new Error(
        "the prompt has no tokens, and the model can only go on from one; give it some text",
      );
    if (ids.length > this.room)
      throw new Error(
        `the prompt has ${ids.length} tokens and the model reads at most n_ctx=${this.room}; shorten it by ${ids.length - this.room}`,
      );
    return ids;
  }

  /** The prompt with the text of the tokens that were added to it. */
  textOf({ prompt, added = [] }: Asked, ids: number[]): string {
    if (!added.length) return prompt;
    const before = this.tokenizer.decode(ids.slice(0, -added.length));
    const whole = this.tokenizer.decode(ids);
    return whole.startsWith(before) ? prompt + whole.slice(before.length) : whole;
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
    return this.tokenizer.trace(text);
  }
}
