import { WHOLE } from "../parts/grid";
import type { Opened } from "../source";
import { change, pair, type Change } from "../trace/changes";
import { size } from "../trace/node";
import { session } from "./session.svelte";

/** The change of one value, null where it cannot be compared; one too large to be sent is subtracted by the server. */
export async function moved(before: Opened, after: Opened, path: string): Promise<Change | null> {
  const nodes = pair(before.trace, after.trace, path);
  if (!nodes || size(nodes[0]) <= WHOLE || before.by !== "server" || after.by !== "server")
    return change(before.trace, after.trace, path);
  const result = await session.source.get("/api/traces/{trace}/change", {
    path: { trace: before.about.id },
    query: { address: path, other: after.about.id },
  });
  return { ...result, largest: result.largest ?? NaN, relative: result.relative ?? Infinity }; // for which JSON has no words
}
