/** What an address stands for, where that is something that training or an edit changes. */
import { kindOf, type Address } from "../trace/address";
import { isInteger } from "../trace/node";
import type { Trace } from "../trace/trace";

/** The place, or why there is none. */
export function changeable(trace: Trace, text: string): { where: Address | null; problem: string } {
  try {
    const where = trace.locate(text);
    const { path } = where;
    if (!["fwd", "weight"].includes(kindOf(path)))
      return {
        where: null,
        problem: `${path} only follows from others; choose a value of the forward pass (fwd/) or a weight.`,
      };
    if (isInteger(trace.node(path)))
      return { where: null, problem: `${path} holds whole numbers, which stay as they are.` };
    return { where, problem: "" };
  } catch (error) {
    return { where: null, problem: (error as Error).message };
  }
}
