/** Texts that Python tokenized (tests/page/test_typescript.py): the page comes to the same ids by the same steps. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { TokenizedText } from "../../src/api";
import { Tokenizer, type TokenizerFile } from "../../src/text/tokenizer";
import { cases } from "./cases";

interface Case {
  name: string;
  file: string;
  /** `marked`: as an encoder reads it, with special tokens in it. */
  texts: { tokenized: TokenizedText; marked: string | null; decoded: string; unknown: string[] }[];
  only: [string, number | null][];
}

for (const { name, file, texts, only } of cases<{ tokenizers: Case[] }>().tokenizers) {
  const tokenizer = new Tokenizer(JSON.parse(readFileSync(file, "utf8")) as TokenizerFile);

  test(`${name}: every step from a text to its ids, and back, is Python's`, () => {
    expect(texts.length).toBeGreaterThan(10);
    for (const { tokenized, marked, decoded, unknown } of texts) {
      const ids =
        marked === null ? tokenizer.encode(tokenized.text) : tokenizer.encodeSpecial(marked);
      expect({ ...tokenizer.trace(tokenized.text, marked), ids }).toEqual({
        ...tokenized,
        ids: tokenized.tokens.map(({ id }) => id),
      });
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(tokenizer.unknownWords(tokenized.text, marked)).toEqual(unknown);
    }
  });

  test(`${name}: a word that is asked for is the token that Python takes it for`, () => {
    for (const [word, id] of only) {
      if (id === null) expect(() => tokenizer.only(word)).toThrow();
      else expect(tokenizer.only(word)).toBe(id);
    }
  });
}
