/** Neighbours of a token, or of a - b + c: counted in the page, or asked of the server where the table is too large for it. */
import { session } from "../../state/session.svelte";
import type { Neighbour, Space } from "../../parts/space";

export interface Question {
  run: string;
  space: Space | null;
  large: boolean;
  token: number | null;
  minus?: number | null;
  plus?: number | null;
}

const COUNT = 10;

/** The answer to a question that may change; call it while a component is set up. */
export function neighbours(question: () => Question): { readonly rows: Neighbour[]; readonly problem: string } {
  let remote = $state.raw<Neighbour[]>([]);
  let problem = $state("");
  let latest = 0;

  const local = $derived.by((): Neighbour[] => {
    const { space, token, minus, plus } = question();
    if (!space || token === null) return [];
    return minus != null && plus != null ? space.analogy(token, minus, plus, COUNT) : space.nearest(token, COUNT);
  });

  $effect(() => {
    const { run, large, token, minus = null, plus = null } = question();
    if (!large || token === null) return;
    const asked = ++latest;
    session.source
      .ask<{ rows: Neighbour[] }>("/api/neighbours", { run, token, minus, plus, count: COUNT })
      .then(({ rows }) => {
        if (asked === latest) [remote, problem] = [rows, ""];
      })
      .catch((error: Error) => {
        if (asked === latest) [remote, problem] = [[], error.message];
      });
  });

  return {
    get rows() {
      return question().large ? remote : local;
    },
    get problem() {
      return question().large ? problem : "";
    },
  };
}
