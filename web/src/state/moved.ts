import { WHOLE } from "../parts/grid";
import type { Opened } from "../source";
import { change, pair, type Change } from "../trace/changes";
import { size } from "../trace/node";
import { session } from "./session.svelte";

/** The change of one value, null where it cannot be compared; one too large to be sent is subtracted by the server. */
export async function moved(before: Opened, after: Opened, path: string): Promise<Change | null> {
  const nodes = pair(before.trace, after.trace, path);
  if (!nodes || size(nodes[0]) <= WHOLE || !session.source.live)
    return change(before.trace, after.trace, path);
  const query = new URLSearchParams({ address: path, other: after.about.id });
  const found = await session.source.ask<Change>(`/api/traces/${before.about.id}/change?${query}`);
  return { ...found, largest: found.largest ?? NaN, relative: found.relative ?? Infinity }; // for which JSON has no words
}
