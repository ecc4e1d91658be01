/** Local derivatives: how much one computed number moves for a small move of each number it read. */
import { Evaluation, SLOPES, type Reads } from "./evaluate";
import { COMPARISONS, REDUCTIONS, type Node } from "./formula";

type Env = Record<string, number>;

/** d value / d operand element for every element that moves it, laid out as `run.reads`. */
export function derivatives(run: Evaluation, tree: Node, at: Env): Reads {
  const found: Reads = new Map([...run.reads.keys()].map((operand) => [operand, new Map()]));

  function send(node: Node, env: Env, upstream: number): void {
    if (upstream === 0) return;
    const kind = node[0];
    if (kind === "read") {
      const flat = run.place(node[1], node[2], env);
      const known = found.get(node[1])!;
      known.set(flat, (known.get(flat) ?? 0) + upstream);
    } else if (kind === "select") {
      send(run.quietly(node[1], env) ? node[2] : node[3], env, upstream);
    } else if (kind === "max") {
      toLargest(node, env, upstream);
    } else if (REDUCTIONS.has(kind)) {
      const share = kind === "mean" ? upstream / run.size(node[1]) : upstream;
      run.each([node[1]], env, (inner) => send(node[2], inner, share));
    } else if (node.length === 2 && kind in SLOPES) {
      const x = run.quietly(node[1], env);
      send(node[1], env, upstream * SLOPES[kind](x, run.quietly(node, env)));
    } else if (node.length === 3 && !COMPARISONS.has(kind) && kind !== "//" && kind !== "%") {
      toSides(node, env, upstream);
    }
  }

  function toLargest(node: Node, env: Env, upstream: number): void {
    const largest = run.quietly(node, env);
    const ties: Env[] = [];
    run.each([node[1]], env, (inner) => {
      if (run.quietly(node[2], inner) === largest) ties.push({ ...inner });
    });
    for (const inner of ties) send(node[2], inner, upstream / ties.length);
  }

  function toSides(node: Node, env: Env, upstream: number): void {
    const [operator, left, right] = node;
    if (operator === "+" || operator === "-") {
      send(left, env, upstream);
      return send(right, env, operator === "+" ? upstream : -upstream);
    }
    const [a, b] = [run.quietly(left, env), run.quietly(right, env)];
    if (operator === "*") {
      send(left, env, upstream * b);
      send(right, env, upstream * a);
    } else if (operator === "/") {
      send(left, env, upstream / b);
      send(right, env, (-upstream * a) / (b * b));
    } else {
      send(left, env, upstream * b * a ** (b - 1));
      if (a > 0) send(right, env, upstream * a ** b * Math.log(a));
    }
  }

  send(tree, at, 1);
  return found;
}
