/** One logit in the shares of the model's parts: computed here, or by the server where the weights are too large to be sent. */
import type { RunInfo } from "../api";
import { WHOLE } from "../parts/grid";
import type { Opened } from "../source";
import { attribute, type Attribution } from "../trace/attribution";
import { size } from "../trace/node";
import { session } from "./session.svelte";

export async function attributed(
  { trace, about, by }: Opened,
  run: RunInfo,
  token: number,
  pos: number,
): Promise<Attribution> {
  const merges = trace.ofKind("weight").filter(({ address }) => address.endsWith("attn.W_O"));
  const numbers = merges.reduce((sum, node) => sum + size(node), 0);
  if (numbers <= WHOLE || by !== "server") return attribute(trace, run.config, token, pos);
  return session.source.get("/api/traces/{trace}/attribution", {
    path: { trace: about.id },
    query: { token, pos },
  });
}
