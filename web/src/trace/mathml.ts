/** A formula tree as MathML, which browsers draw and screen readers speak without a library. */
import { NEGATION, PRECEDENCE, constant, sides, type Formula, type Node } from "./formula";

const AXES: Record<string, string> = { batch: "b", pos: "p", query: "q", key: "k", head: "h", vocab: "v", d_model: "d", d_head: "i", d_mlp: "m" };
const OPERATORS: Record<string, string> = { "*": "·", "<=": "≤", ">=": "≥", "==": "=", "!=": "≠", "%": "mod", "-": "−" };

export function mathml(formula: Formula, symbol: string): string {
  const left = read(symbol, formula.axes.map(axisName));
  return `<math display="block"><mrow>${left}<mo>=</mo>${draw(formula.tree, 0)}</mrow></math>`;
}

const escape = (text: string): string => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const row = (...parts: string[]): string => `<mrow>${parts.join("")}</mrow>`;
const mo = (text: string): string => `<mo>${escape(text)}</mo>`;
const axisName = (axis: string): string => (axis in AXES ? `<mi>${AXES[axis]}</mi>` : word(axis));
const word = (text: string): string => (text.length === 1 ? `<mi>${escape(text)}</mi>` : `<mtext>${escape(text)}</mtext>`);
const brackets = (inner: string, level: number, outer: number): string => (level < outer ? row(mo("("), inner, mo(")")) : inner);

/** A value with its indices below; `W_Q` has its Q above them, `d_x` is a partial derivative. */
function read(name: string, indices: string[]): string {
  if (name.startsWith("d_") && name.length > 2) return row("<mi>∂</mi>", read(name.slice(2), indices));
  const below = indices.length ? row(indices.join(mo(","))) : "";
  const tail = /^([A-Za-z])_([A-Za-z]{1,3})$/.exec(name);
  if (!tail) return below ? `<msub>${word(name)}${below}</msub>` : word(name);
  const [base, above] = [`<mi>${tail[1]}</mi>`, word(tail[2])];
  return below ? `<msubsup>${base}${below}${above}</msubsup>` : `<msup>${base}${above}</msup>`;
}

function draw(node: Node, outer: number): string {
  const [kind, a, b, c] = node;
  switch (kind) {
    case "number":
      return value(constant(node), outer);
    case "axis":
      return axisName(a);
    case "size":
      return row(mo("|"), axisName(a), mo("|"));
    case "param":
      return a === "eps" ? "<mi>ε</mi>" : word(a);
    case "read":
      return read(a, (b as Node[]).map((index) => draw(index, 0)));
    case "drawn":
      return "<mtext>drawn</mtext>";
    case "neg":
      return brackets(row(mo("−"), draw(a, NEGATION)), NEGATION, outer);
    case "sqrt":
      return `<msqrt>${draw(a, 0)}</msqrt>`;
    case "exp":
      return `<msup><mi>e</mi>${row(draw(a, 0))}</msup>`;
    case "abs":
      return row(mo("|"), draw(a, 0), mo("|"));
    case "select":
      return cases(a, b, c);
    case "max":
      return brackets(row(`<munder>${mo("max")}${axisName(a)}</munder>`, draw(b, 2)), 1, outer);
    case "sum":
    case "mean":
      return brackets(total(kind, a, b), 1, outer);
    case "/":
      return `<mfrac>${row(draw(a, 0))}${row(draw(b, 0))}</mfrac>`;
    case "//":
      return row(mo("⌊"), draw(a, 2), mo("/"), draw(b, 3), mo("⌋"));
    case "**":
      return `<msup>${row(draw(a, 5))}${row(draw(b, 0))}</msup>`;
  }
  if (kind in PRECEDENCE) {
    const [left, right] = sides(kind);
    return brackets(row(draw(a, left), mo(OPERATORS[kind] ?? kind), draw(b, right)), PRECEDENCE[kind], outer);
  }
  return row(word(kind), mo("("), draw(a, 0), mo(")"));
}

function value(x: number, outer: number): string {
  if (!Number.isFinite(x)) return x > 0 ? "<mi>∞</mi>" : brackets(row(mo("−"), "<mi>∞</mi>"), NEGATION, outer);
  if (x === Math.PI) return "<mi>π</mi>";
  return x < 0 ? brackets(row(mo("−"), `<mn>${-x}</mn>`), NEGATION, outer) : `<mn>${x}</mn>`;
}

function cases(condition: Node, a: Node, b: Node): string {
  const line = (what: Node, when: string) => `<mtr><mtd>${draw(what, 0)}</mtd><mtd>${when}</mtd></mtr>`;
  const rows = line(a, row("<mtext>if\u00a0</mtext>", draw(condition, 0))) + line(b, "<mtext>otherwise</mtext>");
  return row(mo("{"), `<mtable columnalign="left">${rows}</mtable>`);
}

function total(kind: string, axis: string, body: Node): string {
  const scale = kind === "mean" ? `<mfrac><mn>1</mn>${row(mo("|"), axisName(axis), mo("|"))}</mfrac>` : "";
  const inner = draw(body, body[0] === "sum" || body[0] === "mean" ? 1 : 2);
  return row(scale, `<munder><mo movablelimits="false">∑</mo>${axisName(axis)}</munder>`, inner);
}
