/** The state of the page, held in the URL: a link opens the same place, and Back climbs out. */

import { untrack } from "svelte";
import { leaving, zoomed } from "./zoom";

export const VIEWS = [
  "start",
  "learn",
  "story",
  "map",
  "attention",
  "playground",
  "lab",
  "training",
  "tokens",
  "weights",
  "requests", // of programs that ask the API; whoever wants to see them gives this address
] as const;
export type View = (typeof VIEWS)[number];
export const title = (view: View): string => view[0].toUpperCase() + view.slice(1);

/** What can be given in the URL beside the view; all of it text, absent where it is the default. */
const FIELDS = [
  "trail", // addresses: the way that was walked to the number that is open
  "at", // the address that is open: a tensor, or one number of it
  "run",
  "prompt",
  "target",
  "step", // which trace: a run, a text, the word asked for, a training step
  "lens", // "1": record the logit lens, however much it holds
  "edits", // JSON: what was changed by hand
  "with", // JSON: the other side of a comparison, a request for a second trace
  "value", // the value that a comparison follows through the blocks
  "side", // "other": an open number is that of the second trace
  "pass", // fwd, bwd or opt
  "stage",
  "why", // token,token: whose logit is split, and whose it is compared with
  "play", // the walk is played: its scene, or 1 from the beginning
  "block",
  "tile", // the block that is open in the map
  "head",
  "pos", // where in the story
  "window", // row,column: the part of a large matrix that is read number by number
  "sampling", // JSON: how the playground chooses the next token
  "drawn", // JSON: the tokens that the playground has added to the prompt
  "rate", // the learning rate with which the next update of a training in the page is watched
  "draw", // JSON: the choice that the trace itself recorded, with its seed and index
  "text",
  "cut", // the token view: the text, and which step of cutting it
  "part",
  "sort",
  "matrix", // the weight view: matrices or embeddings, their order, the one whose numbers are counted
  "near",
  "analogy",
  "zoom", // the embedding map: a token, three tokens a,b,c, and x,y,scale
  "way", // how the lab edits: off, number or patch
  "training", // a training that was started from the page
  "log", // "1": training steps on a logarithmic scale
  "bars", // "log": probabilities are drawn on a logarithmic scale
  "hide", // controls that a teacher has hidden
  "lesson", // the course's open lesson: it stands in the path, #/learn/3
  "teacher", // "1": the course without its answers
] as const;
type Field = (typeof FIELDS)[number];
type Fields = Partial<Record<Field, string>>;

/** What is of one run's texts and numbers: another run begins without them. */
const OF_ONE_RUN: readonly Field[] = [
  ...(["prompt", "target", "step", "edits", "with", "side", "draw", "drawn", "rate"] as const),
  ...(["trail", "at", "pos", "block", "head"] as const),
];

export const FRAMED = location.protocol === "about:";

class Route {
  /** The view of an address that names none; a notebook shows a trace of the reader's own. */
  private opens: View = FRAMED ? "story" : "start";
  view = $state<View>("start");
  private fields = $state<Fields>({});
  private seen = "";

  constructor() {
    this.read();
    addEventListener("popstate", () => this.arrive());
    addEventListener("hashchange", () => this.arrive());
  }

  /** What a page without a view in its address shows. */
  openWith(view: View): void {
    this.opens = view;
    this.read();
  }

  get(field: Field): string | undefined {
    return this.fields[field];
  }

  number(field: Field, otherwise = 0): number {
    const value = Number(this.fields[field]);
    return this.fields[field] !== undefined && Number.isFinite(value) ? value : otherwise;
  }

  json<T>(field: Field): T | null {
    try {
      return this.fields[field] ? (JSON.parse(this.fields[field]) as T) : null;
    } catch {
      return null;
    }
  }

  /** Go somewhere: a new entry of the history, so that Back returns. */
  go(change: Partial<Record<Field, string | number | null>>, view: View = this.view): void {
    this.follow(untrack(() => this.href(change, view)));
  }

  /** Change the place without a new entry: a slider that is being dragged, a token under the finger. */
  adjust(change: Partial<Record<Field, string | number | null>>): void {
    this.write(
      "replaceState",
      untrack(() => this.href(change)),
    );
  }

  /** Go where a link of this page points. */
  follow(href: string): void {
    this.write("pushState", href);
  }

  href(change: Partial<Record<Field, string | number | null>>, view: View = this.view): string {
    const query = new URLSearchParams();
    for (const field of FIELDS) {
      // they were of what was open before
      const gone =
        (field === "window" && "at" in change) ||
        (field === "trail" && change.at === null) ||
        ("run" in change && OF_ONE_RUN.includes(field));
      const value = field in change ? change[field] : gone ? null : this.fields[field];
      if (field === "lesson") continue;
      if (value !== null && value !== undefined && value !== "") query.set(field, String(value));
    }
    const lesson = "lesson" in change ? change.lesson : this.fields.lesson;
    const path = view === "learn" && lesson ? `learn/${encodeURIComponent(lesson)}` : view;
    return `#/${path}${query.size ? `?${query}` : ""}`;
  }

  hides = (control: string): boolean => (this.fields.hide ?? "").split(",").includes(control);

  private write(how: "pushState" | "replaceState", href: string): void {
    // in a notebook's frame a bare #... would be resolved against the notebook's own address
    history[how](null, "", FRAMED ? `about:srcdoc${href}` : href);
    if (how === "pushState") this.arrive();
    else this.read();
  }

  /** Read the place that was come to; from one level to another the picture zooms, which costs a picture of what was there. */
  private arrive(): void {
    if (location.hash === this.seen) return; // a link is heard of twice
    const [from, to] = [{ view: this.view, fields: this.fields }, this.parsed()].map(levelOf);
    this.seen = location.hash;
    for (const measure of leaving) measure();
    if (from && to && from !== to) zoomed(() => this.read());
    else this.read();
  }

  /** What the address names. */
  private parsed(): { view: View; fields: Fields } {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const [first, second] = path.split("/");
    const view = VIEWS.find((view) => view === first) ?? (path ? "story" : this.opens);
    const parameters = new URLSearchParams(query ?? "");
    const fields: Fields = {};
    for (const field of FIELDS) if (parameters.has(field)) fields[field] = parameters.get(field)!;
    if (view === "learn" && second) fields.lesson = decoded(second);
    return { view, fields };
  }

  /** What has not changed is left alone, and with it all that is drawn from it. */
  private read(): void {
    this.seen = location.hash;
    const { view, fields } = this.parsed();
    this.view = view;
    untrack(() => {
      for (const field of FIELDS)
        if (this.fields[field] !== fields[field]) this.fields[field] = fields[field];
    });
  }
}

/** A part of an address as text; what is no escape, such as the % of "100%", stays as it is. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Which level is shown, from the sentence to one value; none in the other views. */
const levelOf = ({ view, fields: { at, block } }: { view: View; fields: Fields }): string =>
  ["start", "story"].includes(view)
    ? "sentence"
    : view !== "map"
      ? ""
      : at
        ? "value"
        : block
          ? `block ${block}`
          : "map";

export const route = new Route();
