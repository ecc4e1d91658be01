/** The choice of a token from the scores of a pass. */
import type { SamplingOptionsOutput as Sampling } from "../api";
import type { Lengths, Plan } from "./plan";
import { Program, type Pass, type Values } from "./program";
import { uniform } from "./uniform";

const UNCHANGED: Sampling = {
  temperature: 1,
  top_k: null,
  top_p: null,
  min_p: null,
  repetition_penalty: 1,
  seed: 0,
  index: 0,
};
const GREEDY: Sampling = { ...UNCHANGED, temperature: 0 };

export class Choices {
  private programs = new Map<string, Program>();

  /** `plans`: by the settings that do something. */
  constructor(private plans: Record<string, Plan>) {}

  /** All settings, where some were asked for. */
  static settings = (asked: Partial<Sampling> | null | undefined): Sampling | null =>
    asked ? { ...UNCHANGED, ...asked } : null;

  /** The choice after a pass, of the token at a position; without settings that of the likeliest one. */
  of(values: Values, lengths: Lengths, sampling: Sampling | null, pos: number) {
    const how = sampling ?? GREEDY;
    const key = settingsKey(how);
    const plan = this.plans[key];
    const program = this.programs.get(key) ?? new Program(plan);
    this.programs.set(key, program);
    const settings: Record<string, number | null> = {
      ...how,
      k: how.top_k,
      penalty: how.repetition_penalty,
      last: pos,
    };
    const params: NonNullable<Pass["params"]> = {};
    for (const node of plan.nodes)
      params[node.address] = Object.fromEntries(
        Object.keys(node.params)
          .filter((name) => settings[name] != null)
          .map((name) => [name, settings[name]!]),
      );
    const u = uniform(how.seed, how.index);
    const leaves = new Map([...values, ["choose/u", Float64Array.of(u)] as const]);
    return { plan, params, chosen: program.run({ lengths, leaves, params }) };
  }
}

/** Which settings do something: Python's `server.runnable.settings_key`. */
function settingsKey(sampling: Sampling): string {
  const greedy = sampling.temperature === 0;
  const does = {
    greedy,
    penalty: sampling.repetition_penalty !== 1,
    temperature: !greedy && sampling.temperature !== 1,
    top_k: !greedy && sampling.top_k !== null,
    top_p: !greedy && sampling.top_p !== null,
    min_p: !greedy && sampling.min_p !== null,
  };
  return Object.entries(does)
    .flatMap(([name, on]) => (on ? [name] : []))
    .join(" ");
}
