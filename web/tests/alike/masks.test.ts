/** What the page hatches of attention: where Python's scores are minus infinity, and its weights nothing. */
import { expect, test } from "vitest";
import { maskedBlocks, plane } from "../../src/parts/grid";
import { isMasked } from "../../src/trace/node";
import { cases } from "./cases";
import type { Asked } from "./compared";
import { opened } from "./opened";

interface Case {
  name: string;
  traces: Asked[];
}
const { models, encoders } = cases<{ models: Case[]; encoders: Case[] }>();
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

test.each([...models, ...encoders])("$name", async ({ traces }) => {
  const trace = opened(traces[0].folder);
  for (const node of trace.ofKind("fwd").filter(({ axes }) => axes.includes("key"))) {
    const scores = trace.nodes.get(node.address.replace(/\w+$/, "attn_scores"));
    const values = scores && (await trace.values.all(scores)); // T5's distances have none
    const [queries, keys] = node.shape.slice(-2);
    const isHidden = (query: number, key: number) =>
      node.role !== "score" && values?.[query * keys + key] === -Infinity;
    for (const query of range(0, queries))
      for (const key of range(0, keys)) {
        const where = `${node.address}[query=${query},key=${key}]`;
        expect(isMasked(node, { query, key }), where).toBe(isHidden(query, key));
      }
    for (const side of [2, 3]) {
      const block = { query: side, key: side };
      const counts = { query: Math.ceil(queries / side), key: Math.ceil(keys / side) };
      const masked = maskedBlocks(plane(trace, node), { values: [], block, counts, by: {} });
      for (const r of range(0, counts.query))
        for (const c of range(0, counts.key)) {
          const cells = range(r * side, Math.min((r + 1) * side, queries)).flatMap((query) =>
            range(c * side, Math.min((c + 1) * side, keys)).map((key) => isHidden(query, key)),
          );
          expect(masked(r, c), `${node.address}, ${side}: ${r}, ${c}`).toBe(cells.every(Boolean));
        }
    }
  }
});
