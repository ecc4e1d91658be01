/** How a vocabulary spells bytes: with letters that print, or by name. */

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The letter that each byte is in byte-level BPE: its own in Latin-1 where that prints, else one from U+0100 on (GPT-2's `bytes_to_unicode`). */
export const LETTERS: string[] = /* @__PURE__ */ (() => {
  let others = 0x100;
  const prints = (byte: number) => (byte >= 0x21 && byte < 0x7f) || (byte >= 0xa1 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(prints(byte) ? byte : others++),
  );
})();

export const byteName = (byte: number): string =>
  `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;

export const isByteName = (name: string): boolean => /^<0x[0-9A-F]{2}>$/.test(name);

/** Bytes as text, or by their names when they are no whole characters. */
export function readable(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Array.from(bytes, byteName).join("");
  }
}
