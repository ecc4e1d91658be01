/** The terms of the glossary, which texts of the page explain where they are touched. */
import { session } from "./session.svelte";

/** Words that the page also uses in their everyday sense. */
const EVERYDAY = ["value", "row", "shape", "position", "scaling", "device", "address", "bias"];

class Glossary {
  terms = $state.raw<Record<string, string>>({});
  private forms = $derived(formsOf(Object.keys(this.terms)));
  private pattern = $derived(
    new RegExp(`\\b(?:${[...this.forms.keys()].sort(longestFirst).join("|")})\\b`, "gi"),
  );

  constructor() {
    session.source.glossary().then(
      (terms) => (this.terms = terms),
      () => {}, // without a glossary the words stand as they are
    );
  }

  /** A text with every term marked where it stands first, as in a lesson: [[term|as it stands]]. */
  marked(text: string): string {
    if (!this.forms.size) return text;
    const seen = new Set<string>();
    const marked = (words: string) =>
      words.replace(this.pattern, (match) => {
        const term = this.forms.get(match.toLowerCase())!;
        if (seen.has(term)) return match;
        seen.add(term);
        return `[[${term}|${match}]]`;
      });
    // names of values stand between backquotes, and are no terms
    return text
      .split(/(`[^`]*`)/)
      .map((part, i) => (i % 2 ? part : marked(part)))
      .join("");
  }

  /** The terms in a text, and where each stands. */
  in(text: string): { term: string; begin: number; end: number }[] {
    if (!this.forms.size) return [];
    return [...text.matchAll(this.pattern)].map(({ 0: match, index: begin }) => ({
      term: this.forms.get(match.toLowerCase())!,
      begin,
      end: begin + match.length,
    }));
  }
}

const longestFirst = (one: string, other: string) => other.length - one.length;

/** Each term in the singular and the plural. */
function formsOf(terms: string[]): Map<string, string> {
  const known = terms.filter((term) => !EVERYDAY.includes(term));
  const plural = (term: string) => term.replace(/y$/, "ie").replace(/ix$/, "ice") + "s";
  return new Map(
    known.flatMap((term) =>
      [term, plural(term)].map((form) => [form.toLowerCase(), term] as [string, string]),
    ),
  );
}

export const glossary = new Glossary();
