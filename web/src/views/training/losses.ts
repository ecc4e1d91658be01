/** The loss of a training as a chart draws it. */
import type { Metrics } from "../../api";
import { theme } from "../../state/theme.svelte";
import type { Point } from "./chart";

function points({ rows }: Metrics, key: "loss" | "held_out" | "whole_text"): Point[] {
  return rows.flatMap((row) => (row[key] === null ? [] : [{ step: row.step, value: row[key] }]));
}

export const lossSeries = (metrics: Metrics) =>
  [
    { name: "training loss", points: points(metrics, "loss"), color: theme.color("fwd") },
    {
      name: "held-out loss",
      points: points(metrics, "held_out"),
      color: theme.color("negative"),
      dots: true,
    },
    {
      name: "loss on the whole text",
      points: points(metrics, "whole_text"),
      color: theme.color("negative"),
      dots: true,
    },
  ].filter((one) => one.points.length);

/** The levels that a loss is measured against. */
export const levelsOf = (metrics: Metrics) =>
  [
    { name: "floor of the held-out text", value: metrics.floor, floor: true },
    { name: "guess by token frequency", value: metrics.unigram_loss, floor: false },
    { name: "guess that knows nothing", value: metrics.uniform_loss, floor: false },
  ].flatMap(({ value, ...level }) => (value === null ? [] : [{ ...level, value }]));
