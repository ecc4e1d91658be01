/** Runs a plan: node after node, each by its tree, over whole arrays. */
import { Kernel } from "./kernel";
import { paramsOf, shapeOf, type Lengths, type Plan, type PlanNode } from "./plan";

/** The numbers of every value by its address, row-major. */
export type Values = Map<string, Float64Array>;

export interface Pass {
  lengths: Lengths;
  /** Weights, tokens and other constants, and numbers that were drawn; what reads one that is missing is left out. */
  leaves: ReadonlyMap<string, Float64Array>;
  /** Parameters of single nodes that are other ones than the plan's. */
  params?: Record<string, Record<string, number>>;
  /** Which nodes are wanted; without it all. */
  wanted?: (node: PlanNode) => boolean;
}

interface Step {
  node: PlanNode;
  shape: number[];
  params: Record<string, number>;
  kernel: Kernel | null;
}

const KEPT_LENGTHS = 8;

export class Program {
  private steps = new Map<string, Step[]>();
  private shapes = new Map<string, number[]>();

  /** `kernels`: those of a program whose formulas this one shares. */
  constructor(
    readonly plan: Plan,
    private kernels = new Map<string, Kernel>(),
  ) {
    if (plan.format !== "glassformer-plan" || plan.version !== 1)
      throw new Error(
        `this is ${plan.format} version ${plan.version}; the page runs glassformer-plan version 1`,
      );
  }

  /** The same model with another plan of the same formulas. */
  with(plan: Plan): Program {
    return new Program(plan, this.kernels);
  }

  run(pass: Pass): Values {
    const { wanted = () => true } = pass;
    const values: Values = new Map();
    for (const step of this.made(pass.lengths)) {
      if (!wanted(step.node)) continue;
      const numbers = this.computed(step, values, pass);
      if (numbers) values.set(step.node.address, numbers);
    }
    return values;
  }

  private computed(step: Step, values: Values, { leaves, params = {} }: Pass): Float64Array | null {
    const { node, shape } = step;
    const leaf = leaves.get(node.address);
    if (leaf) return leaf;
    if (POSITION.test(node.address)) return Float64Array.from({ length: shape[0] }, (_, i) => i);
    if (node.address === TYPES) return new Float64Array(shape[0] * shape[1]);
    if (node.formula === null || this.plan.formulas[node.formula].tree[0] === "drawn") return null;
    const operands = Object.values(node.operands).map((path) => values.get(path));
    if (operands.includes(undefined)) return null;
    step.kernel ??= this.kernel(node, shape);
    const changed = params[node.address];
    return step.kernel.run(
      operands as Float64Array[],
      changed ? { ...step.params, ...changed } : step.params,
    );
  }

  private made(lengths: Lengths): Step[] {
    const key = `${lengths.batch},${lengths.pos},${lengths.source_pos}`;
    const known = this.steps.get(key);
    const made = known ?? this.plan.nodes.map((node) => stepOf(node, lengths));
    this.steps.delete(key);
    this.steps.set(key, made); // the one that was used last is the last to go
    if (this.steps.size > KEPT_LENGTHS) {
      this.steps.delete(this.steps.keys().next().value!);
      this.kernels.clear();
    }
    this.shapes = new Map(made.map(({ node, shape }) => [node.address, shape]));
    return made;
  }

  /** The kernel of a node; nodes of one formula and shape, as of every block, share theirs. */
  private kernel(node: PlanNode, shape: number[]): Kernel {
    const operands = Object.fromEntries(
      Object.entries(node.operands).map(([name, path]) => [name, this.shapes.get(path)!]),
    );
    const key = JSON.stringify([node.formula, shape, node.dtype, operands]);
    const known = this.kernels.get(key);
    if (known) return known;
    const { tree, axes } = this.plan.formulas[node.formula!];
    const kernel = new Kernel(tree, { axes, shape, dtype: node.dtype }, operands);
    this.kernels.set(key, kernel);
    return kernel;
  }
}

const stepOf = (node: PlanNode, lengths: Lengths): Step => ({
  node,
  shape: shapeOf(node, lengths),
  params: paramsOf(node, lengths),
  kernel: null,
});

/** Where every token stands in its text: 0, 1, 2, ... */
const POSITION = /^const\/([a-z]+\.)?position$/;
/** Of which sentence every token is: all of the first. */
const TYPES = "token/types";
