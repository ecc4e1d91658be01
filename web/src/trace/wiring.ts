/** How a block is wired, read from who reads what: branches one after the other or side by side, shared heads, experts. */
import type { TraceNode } from "./node";
import type { Trace } from "./trace";

export interface Wiring {
  /** Attention and MLP read the same stream. */
  parallel: boolean;
  /** And they read it through one and the same norm. */
  sharedNorm: boolean;
  /** Of every head of keys and values the heads of queries that share it. */
  groups: number[][];
  /** How much each token is given to each expert [pos, expert]; null without experts. */
  routes: TraceNode | null;
}

export function wiring(trace: Trace, block: number): Wiring {
  const at = (name: string) => trace.nodes.get(`fwd/blocks.${block}.${name}`);
  const reads = (name: string) => at(`${name}_frozen`) ?? at(name); // with an adapter, or without
  const [attention, mlp] = [reads("attn.q"), at("mlp.router_scores") ?? reads("mlp.pre")].map(
    (node) => (node ? firstName(trace, node.operands.x) : null),
  );
  const sharedNorm = attention !== null && attention === mlp;
  const parallel =
    sharedNorm || (!!attention && !!mlp && before(trace, attention) === before(trace, mlp));
  const [heads, shared] = [at("attn.q"), at("attn.k")].map((node) => node?.shape[2] ?? 1);
  const group = heads / shared;
  return {
    parallel,
    sharedNorm,
    groups: Array.from({ length: shared }, (_, k) =>
      Array.from({ length: group }, (_, i) => k * group + i),
    ),
    routes: at("mlp.expert_weights") ?? null,
  };
}

/** The value itself, under its first name: some are only handed on. */
function firstName(trace: Trace, path: string): string {
  const node = trace.node(path);
  return node.op === "carry" ? firstName(trace, node.operands.x) : path;
}

/** What a norm, if there is one, was made of. */
function before(trace: Trace, path: string): string {
  if (!/\.ln\d\./.test(path)) return path;
  const from = Object.values(trace.node(path).operands).find(
    (name) => name.startsWith("fwd/") && trace.node(name).axes.includes("d_model"),
  );
  return from ? before(trace, firstName(trace, from)) : path;
}
