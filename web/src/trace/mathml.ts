/** A formula tree as MathML, which browsers draw and screen readers speak without a library. */
import {
  NEGATION,
  PRECEDENCE,
  isBinary,
  isReduction,
  plainNumber,
  sides,
  walk,
  type Formula,
  type Node,
  type Reduction,
} from "./formula";

/** The letter of an axis; none is a letter that the field keeps for a tensor, as q, k, v and z are. */
const AXES: Record<string, string> = {
  batch: "n",
  pos: "t",
  query: "i",
  key: "j",
  head: "h",
  vocab: "w",
  d_model: "d",
  d_head: "c",
  d_mlp: "m",
};
const OPERATORS: Record<string, string> = {
  "*": "·",
  "<=": "≤",
  ">=": "≥",
  "==": "=",
  "!=": "≠",
  "%": "mod",
  "-": "−",
};

export function mathml(formula: Formula, symbol: string): string {
  const left = read(symbol, formula.axes.map(axisName));
  return `<math display="block"><mrow>${left}<mo>=</mo>${draw(formula.tree, 0)}</mrow></math>`;
}

const escape = (text: string): string =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const row = (...parts: string[]): string => `<mrow>${parts.join("")}</mrow>`;
const mo = (text: string): string => `<mo>${escape(text)}</mo>`;
const axisName = (axis: string): string => (axis in AXES ? `<mi>${AXES[axis]}</mi>` : word(axis));
const word = (text: string): string => `<mtext>${escape(text)}</mtext>`;
/** A tensor's name: upright, where an axis is slanted. */
const tensor = (name: string): string =>
  `<mi mathvariant="normal" class="tensor">${escape(name)}</mi>`;

/** What the letters of a formula's axes stand for, in the order in which it names them. */
export function letters(formula: Formula): [letter: string, axis: string][] {
  const named = [...walk(formula.tree)].flatMap((node) =>
    node[0] === "axis" || node[0] === "size" || isReduction(node) ? [node[1]] : [],
  );
  const axes = new Set([...formula.axes, ...named]);
  return [...axes].flatMap((axis) =>
    axis in AXES ? [[AXES[axis], axis] as [string, string]] : [],
  );
}

const length = (axis: string): string => row(mo("|"), axisName(axis), mo("|"));
const brackets = (inner: string, level: number, outer: number): string =>
  level < outer ? row(mo("("), inner, mo(")")) : inner;

/** A value with its indices below; `W_Q` has its Q above them, `d_x` is a partial derivative. */
function read(name: string, indices: string[]): string {
  if (name.startsWith("d_") && name.length > 2)
    return row("<mi>∂</mi>", read(name.slice(2), indices));
  const below = indices.length ? row(indices.join(mo(","))) : "";
  const tail = /^([A-Za-z])_([A-Za-z]{1,3})$/.exec(name);
  if (!tail) return below ? `<msub>${tensor(name)}${below}</msub>` : tensor(name);
  const [base, above] = [tensor(tail[1]), tensor(tail[2])];
  return below ? `<msubsup>${base}${below}${above}</msubsup>` : `<msup>${base}${above}</msup>`;
}

function draw(node: Node, outer: number): string {
  switch (node[0]) {
    case "number":
      return value(plainNumber(node[1]), outer);
    case "axis":
      return axisName(node[1]);
    case "size":
      return length(node[1]);
    case "param":
      return node[1] === "eps" ? "<mi>ε</mi>" : word(node[1]);
    case "read":
      return read(
        node[1],
        node[2].map((index) => draw(index, 0)),
      );
    case "drawn":
      return "<mtext>drawn</mtext>";
    case "neg":
      return brackets(row(mo("−"), draw(node[1], NEGATION)), NEGATION, outer);
    case "sqrt":
      return `<msqrt>${draw(node[1], 0)}</msqrt>`;
    case "exp":
      return `<msup><mi>e</mi>${row(draw(node[1], 0))}</msup>`;
    case "abs":
      return row(mo("|"), draw(node[1], 0), mo("|"));
    case "select":
      return cases(node[1], node[2], node[3]);
    case "max":
    case "argmax":
      return brackets(row(under(mo(node[0]), node[1]), draw(node[2], 2)), 1, outer);
    case "sum":
    case "mean":
      return brackets(total(node), 1, outer);
    case "/":
      return `<mfrac>${row(draw(node[1], 0))}${row(draw(node[2], 0))}</mfrac>`;
    case "//":
      return row(mo("⌊"), draw(node[1], 2), mo("/"), draw(node[2], 3), mo("⌋"));
    case "**":
      return `<msup>${row(draw(node[1], 5))}${row(draw(node[2], 0))}</msup>`;
  }
  if (!isBinary(node)) return row(word(node[0]), mo("("), draw(node[1], 0), mo(")"));
  const [operator, a, b] = node;
  const [left, right] = sides(operator);
  const line = row(draw(a, left), mo(OPERATORS[operator] ?? operator), draw(b, right));
  return brackets(line, PRECEDENCE[operator], outer);
}

function value(x: number, outer: number): string {
  if (!Number.isFinite(x))
    return x > 0 ? "<mi>∞</mi>" : brackets(row(mo("−"), "<mi>∞</mi>"), NEGATION, outer);
  if (x === Math.PI) return "<mi>π</mi>";
  return x < 0 ? brackets(row(mo("−"), `<mn>${-x}</mn>`), NEGATION, outer) : `<mn>${x}</mn>`;
}

function cases(condition: Node, a: Node, b: Node): string {
  const line = (what: Node, when: string) =>
    `<mtr><mtd>${draw(what, 0)}</mtd><mtd>${when}</mtd></mtr>`;
  const rows =
    line(a, row("<mtext>if\u00a0</mtext>", draw(condition, 0))) +
    line(b, "<mtext>otherwise</mtext>");
  return row(mo("{"), `<mtable columnalign="left">${rows}</mtable>`);
}

function total([kind, axis, body]: Reduction): string {
  const scale = kind === "mean" ? `<mfrac><mn>1</mn>${length(axis)}</mfrac>` : "";
  const inner = draw(body, body[0] === "sum" || body[0] === "mean" ? 1 : 2);
  return row(scale, under(`<mo movablelimits="false">∑</mo>`, axis), inner);
}

/** An operator with its axis below it. */
const under = (operator: string, axis: string): string =>
  `<munder>${operator}<mrow>${axisName(axis)}</mrow></munder>`;
