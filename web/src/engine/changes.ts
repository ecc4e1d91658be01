/** What a request changes: the offsets of its edits, and the numbers that are put there. */
import type { Patch } from "../api";
import type { Edit, Request } from "../source";
import { kindOf, nearest, parse, type Address } from "../trace/address";
import type { Change, Edits } from "./edits";
import { shapeOf, type Lengths, type Plan, type PlanNode } from "./plan";
import type { Values } from "./program";

const LARGEST = 3.4028234663852886e38; // of float32

/** The numbers of a pass, and how long its texts were. */
export interface Numbers {
  lengths: Lengths;
  values: Values;
}

/** Finds passes that values come from: a text's, which is run now, or one that is held. */
export interface Passes {
  run(prompt: string, request: Request): string;
  held(id: string): Numbers | undefined;
}

export class Changes {
  private nodes: Map<string, PlanNode>;

  constructor(
    plan: Plan,
    private passes: Passes,
  ) {
    this.nodes = new Map(plan.nodes.map((node) => [node.address, node]));
  }

  dtype = (path: string): string => this.nodes.get(path)!.dtype;

  /** The edits of a request, and as it gave them, with every text that a value comes from replaced by a pass of it. */
  of(
    request: Request,
    lengths: Lengths,
  ): { edits: Edits; patched: Record<string, number | Patch> } {
    const edits = new Map<string, Change[]>();
    const patched: Record<string, number | Patch> = {};
    for (const [address, edit] of Object.entries(request.edits ?? {})) {
      const where = parse(address);
      if (!["fwd", "weight"].includes(kindOf(where.path)))
        throw new Error(`“${address}” cannot be edited; edit a value (fwd/) or a weight`);
      const { offsets, shape } = this.slice(where, lengths);
      patched[address] = this.patch(edit, request);
      const numbers = this.put(patched[address], address, offsets.length, shape);
      edits.set(where.path, [...(edits.get(where.path) ?? []), { offsets, numbers }]);
    }
    return { edits, patched };
  }

  private patch(edit: Edit, request: Request): number | Patch {
    if (typeof edit === "number" || "trace" in edit) return edit;
    return { trace: this.passes.run(edit.prompt, request), address: edit.address };
  }

  /** What an edit puts where `n` numbers of some shape are. */
  private put(edit: number | Patch, address: string, n: number, shape: number[]) {
    if (typeof edit === "number") {
      if (Math.abs(edit) > LARGEST)
        throw new Error(
          `${edit} is beyond the numbers of ${address}; the largest there is ${LARGEST}`,
        );
      return new Float64Array(n).fill(edit);
    }
    const other = this.passes.held(edit.trace);
    if (!other) throw new Error("this trace is no longer held; open the prompt again");
    const from = this.slice(parse(edit.address), other.lengths);
    if (from.shape.length && from.shape.join() !== shape.join())
      throw new Error(
        `${address} is [${shape.join(", ")}] here and the new value is [${from.shape.join(", ")}]; give one number, a value of this shape, or the address of a part`,
      );
    const numbers = other.values.get(parse(edit.address).path)!;
    const at = (i: number) => from.offsets[from.shape.length ? i : 0];
    return Float64Array.from({ length: n }, (_, i) => numbers[at(i)]);
  }

  /** The offsets that an address names in the row-major value, and the shape that they have. */
  private slice(
    { path, index }: Address,
    lengths: Lengths,
  ): { offsets: number[]; shape: number[] } {
    const node = this.nodes.get(path);
    if (!node)
      throw new Error(
        `no value is named ${path}; near it: ${nearest(path, this.nodes.keys()).join(", ")}`,
      );
    const shape = shapeOf(node, lengths);
    for (const [axis, i] of Object.entries(index)) {
      const n = shape[node.axes.indexOf(axis)];
      if (n === undefined)
        throw new Error(`${path} has no axis ${axis}; its axes are ${node.axes.join(", ")}`);
      if (i >= n)
        throw new Error(`${axis}=${i} is outside ${path}: ${axis} goes from 0 to ${n - 1}`);
    }
    let offsets = [0];
    node.axes.forEach((axis, d) => {
      const indices = axis in index ? [index[axis]] : Array.from({ length: shape[d] }, (_, i) => i);
      offsets = offsets.flatMap((at) => indices.map((i) => at * shape[d] + i));
    });
    return { offsets, shape: shape.filter((_, d) => !(node.axes[d] in index)) };
  }
}
