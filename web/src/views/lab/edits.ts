/** What was changed by hand: kept in the URL as the request for the second trace. */
import type { Edit, Edits, Opened, Request } from "../../source";
import { route } from "../../state/route.svelte";
import { nameOf, parse, type Address } from "../../trace/address";
import { full } from "../../trace/number";

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The edits of the URL as they stand there; a link may hold what no edit can be. */
export function editsNow(): Edits {
  const edits = route.json<Partial<Request>>("with")?.edits;
  return isRecord(edits) ? edits : {};
}

/** Where an edit is made; null for one that cannot be read. */
export function placeOf(address: string, edit: unknown): Address | null {
  const patch =
    isRecord(edit) &&
    typeof edit.address === "string" &&
    typeof (edit.prompt ?? edit.trace) === "string";
  try {
    return typeof edit === "number" || patch ? parse(address) : null;
  } catch {
    return null;
  }
}

const sameEdit = (one: Edit, two: Edit | undefined): boolean =>
  one === two || (isRecord(one) && isRecord(two) && one.address === two.address);

/** Whether a pass differs from another by these edits and nothing else. */
export function isEdited(after: Opened, before: Opened, edits: Edits): boolean {
  const alike = (["run", "prompt", "target", "at_step"] as const).every(
    (what) => after.about[what] === before.about[what],
  );
  const [asked, made] = [Object.entries(edits), after.about.edits];
  return (
    alike &&
    asked.length === Object.keys(made).length &&
    asked.every(([address, edit]) => sameEdit(edit, made[address]))
  );
}

export function setEdits(edits: Edits): void {
  const any = Object.keys(edits).length > 0;
  route.go({ with: any ? JSON.stringify({ edits }) : null, side: null });
}

export const add = (more: Edits): void => setEdits({ ...editsNow(), ...more });

export function remove(...addresses: string[]): void {
  setEdits(
    Object.fromEntries(
      Object.entries(editsNow()).filter(([address]) => !addresses.includes(address)),
    ),
  );
}

/** One attention head's mix becomes zero, so that the merge has nothing of it to write; `attention` is a block's, as `blocks.0.attn`. */
export const headOff = (attention: string, head: number): string =>
  `fwd/${attention}.z[head=${head}]`;
export const attentionOff = (attention: string): string => `fwd/${attention}.attn_out`;
export const mlpOff = (block: string): string => `fwd/${block}.mlp.mlp_out`;

/** An edit in words. */
export function summary(address: string, edit: Edit): string {
  const target = placeOf(address, edit);
  if (!target) return `“${address}” is not an edit that can be read`;
  const { path, index } = target;
  const part = /^fwd\/(\w+\.)?blocks\.(\d+)\.(cross_)?(attn\.z|attn\.attn_out|mlp\.mlp_out)$/.exec(
    path,
  );
  const axes = Object.keys(index);
  if (edit === 0 && part) {
    const [, tower = "", block, cross, what] = part;
    const where = `${tower.replace(".", " ")}block ${block} is off`;
    if (what === "attn.z" && axes.join() === "head")
      return `Head ${index.head} of ${cross ? "cross-attention in " : ""}${where}`;
    if (what === "attn.attn_out" && !axes.length)
      return `${cross ? "Cross-attention" : "Attention"} of ${where}`;
    if (what === "mlp.mlp_out" && !axes.length) return `MLP of ${where}`;
  }
  if (typeof edit === "number") return `${nameOf(address)} becomes ${full(edit)}`;
  const from = "prompt" in edit ? `“${edit.prompt}”` : "another trace";
  return `${nameOf(address)} as in ${from}${edit.address === address ? "" : `, at ${nameOf(edit.address)}`}`;
}
