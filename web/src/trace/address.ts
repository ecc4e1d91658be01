/** The address of a number, `KIND/name[axis=index,...]`: the same in Python, on the command line and here. */
export interface Address {
  path: string;
  index: Record<string, number>;
}

const SYNTAX =
  /^\s*(?:@(?:step|token)=\d+\s*)*\/?(?:([a-z]+)\/)?([A-Za-z_][\w.]*)\s*(?:\[([^\]]*)\])?\s*$/;
export const KINDS = ["fwd", "bwd", "opt", "weight", "token", "const", "choose"];

/** Parse an address; throws an Error that says what is wrong with it. */
export function parse(text: string): Address {
  const match = SYNTAX.exec(text);
  if (!match)
    throw new Error(
      `“${text}” is not an address; write for example fwd/blocks.0.attn.pattern[head=0,query=3,key=1]`,
    );
  const kind = match[1] ?? "fwd";
  if (!KINDS.includes(kind))
    throw new Error(`unknown kind “${kind}”; kinds are ${KINDS.join(", ")}`);
  const index: Record<string, number> = {};
  for (const part of (match[3] ?? "").split(",").filter((p) => p.trim())) {
    const [axis, value] = part.split("=").map((side) => side.trim());
    if (!/^\d+$/.test(value ?? "")) throw new Error(`“${part.trim()}” is not axis=index`);
    index[axis] = Number(value);
  }
  return { path: `${kind}/${match[2]}`, index };
}

export function format(path: string, index: Record<string, number> = {}): string {
  const inside = Object.entries(index)
    .map(([axis, i]) => `${axis}=${i}`)
    .join(",");
  return inside ? `${path}[${inside}]` : path;
}

export const kindOf = (path: string): string => path.slice(0, path.indexOf("/"));
export const nameOf = (path: string): string => path.slice(path.indexOf("/") + 1);
export const shortOf = (path: string): string =>
  nameOf(path).slice(nameOf(path).lastIndexOf(".") + 1);

/** Known paths nearest to an unknown one, best first; `least`: the share of letter pairs that they must have in common. */
export function nearest(path: string, known: Iterable<string>, n = 3, least = 0): string[] {
  const pairs = (text: string) =>
    new Set(Array.from({ length: Math.max(text.length - 1, 0) }, (_, i) => text.slice(i, i + 2)));
  const wanted = pairs(path);
  const scored = [...known].map((candidate) => {
    const theirs = pairs(candidate);
    const shared = [...theirs].filter((pair) => wanted.has(pair)).length;
    return { candidate, score: (2 * shared) / (theirs.size + wanted.size || 1) };
  });
  return scored
    .filter(({ score }) => score >= least)
    .sort((a, b) => b.score - a.score)
    .slice(0, n)
    .map((s) => s.candidate);
}
