/** Neighbors of a token, or of a - b + c: counted in the page, or asked of the server where the table is too large for it. */
import { session } from "../../state/session.svelte";
import type { Neighbor, Space } from "../../parts/space";

export interface Question {
  run: string;
  space: Space | null;
  large: boolean;
  token: number | null;
  minus?: number | null;
  plus?: number | null;
}

const COUNT = 10;
const REST = 120; // ms: a pointer that passes over tokens asks the server nothing

/** The answer to a question that may change; call it while a component is set up. */
export function neighbors(question: () => Question): {
  readonly rows: Neighbor[];
  readonly problem: string;
} {
  let answer = $state.raw({ to: "", rows: [] as Neighbor[], problem: "" });
  const request = $derived(JSON.stringify(question(), ["run", "token", "minus", "plus"]));
  const large = $derived(question().large);

  const local = $derived.by((): Neighbor[] => {
    const { space, token, minus, plus } = question();
    if (!space || token === null) return [];
    return minus != null && plus != null
      ? space.analogy(token, minus, plus, COUNT)
      : space.nearest(token, COUNT);
  });

  $effect(() => {
    const to = request;
    const body = { minus: null, plus: null, ...JSON.parse(to), count: COUNT };
    if (!large || body.token === null) return;
    const ask = () =>
      session.source.post("/api/neighbors", { body }).then(
        ({ rows }) => to === request && (answer = { to, rows, problem: "" }),
        (error: Error) => to === request && (answer = { to, rows: [], problem: error.message }),
      );
    const timer = setTimeout(ask, REST);
    return () => clearTimeout(timer);
  });

  return {
    get rows() {
      return !large ? local : answer.to === request ? answer.rows : [];
    },
    get problem() {
      return large && answer.to === request ? answer.problem : "";
    },
  };
}
