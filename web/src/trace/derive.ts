/** Local derivatives: how much one computed number moves for a small move of each number it read. */
import { Evaluation, type Reads } from "./evaluate";
import { isPlain } from "./columns";
import { rule } from "./functions";
import {
  isBinary,
  isCall,
  isReduction,
  walk,
  type Binary,
  type Node,
  type Reduction,
} from "./formula";
import { ByOffset } from "./offsets";

/** Operators whose value no small move changes. */
const FLAT = new Set<string>(["<", "<=", ">", ">=", "==", "!=", "//"]);

type Env = Record<string, number>;

/** d value / d operand element for every element that moves it, laid out as `run.reads`. */
export function derivatives(run: Evaluation, tree: Node, at: Env): Reads {
  const result: Reads = new Map([...run.reads.keys()].map((operand) => [operand, new ByOffset()]));

  function send(node: Node, env: Env, upstream: number): void {
    if (upstream === 0) return;
    if (node[0] === "read") {
      const flat = run.offset(node[1], node[2], env);
      const known = result.get(node[1])!;
      known.set(flat, (known.get(flat) ?? 0) + upstream);
    } else if (node[0] === "select") {
      send(run.quietly(node[1], env) ? node[2] : node[3], env, upstream);
    } else if (node[0] === "argmax") {
      return; // it stays as it is for any small change
    } else if (node[0] === "max") {
      toLargest(node, env, upstream);
    } else if (isReduction(node)) {
      const share = node[0] === "mean" ? upstream / run.size(node[1]) : upstream;
      if (isPlain(node[2])) return toTerms(node, env, share);
      run.each([node[1]], env, (inner) => send(node[2], inner, share));
    } else if (isCall(node)) {
      const x = run.quietly(node[1], env);
      send(node[1], env, upstream * rule(node[0]).slope(x, run.quietly(node, env)));
    } else if (isBinary(node) && !FLAT.has(node[0])) {
      toSides(node, env, upstream);
    }
  }

  function toTerms([, axis, body]: Reduction, env: Env, share: number): void {
    const each = new Float64Array(run.size(axis)).fill(share);
    run.silently(() =>
      run
        .columns([axis], env)
        .slopes(body, each, (operand, offsets, slopes) =>
          result.get(operand)!.addUp(offsets, slopes),
        ),
    );
  }

  function toLargest(node: Reduction, env: Env, upstream: number): void {
    const largest = run.quietly(node, env);
    const ties: Env[] = [];
    run.valuesOf([node[1]], node[2], env).values.forEach((value, i) => {
      if (value === largest) ties.push({ ...env, [node[1]]: i });
    });
    for (const inner of ties) send(node[2], inner, upstream / ties.length);
  }

  function toSides(node: Binary, env: Env, upstream: number): void {
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
    } else if (operator === "%") {
      if ([...walk(node)].some(([kind]) => kind === "read"))
        throw new Error("can't differentiate %: there is no rule for it");
    } else {
      send(left, env, upstream * b * a ** (b - 1));
      if (a > 0) send(right, env, upstream * a ** b * Math.log(a));
    }
  }

  send(tree, at, 1);
  return result;
}
