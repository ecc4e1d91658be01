const WORDS = /[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu; // as the tokenizer of words cuts

/** The words of a text that its tokens write as unknown; none where words and tokens do not pair up. */
export function unknownWords(text: string, tokens: string[]): string[] {
  const words = text.match(WORDS) ?? [];
  if (words.length !== tokens.length) return [];
  return [...new Set(words.filter((_, i) => /^.unk.$/i.test(tokens[i])))];
}
