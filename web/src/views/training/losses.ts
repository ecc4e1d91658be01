/** The loss of a training as a chart draws it. */
import type { Metrics } from "../../source";
import { theme } from "../../state/theme.svelte";
import type { Point } from "./chart";

function points({ rows }: Metrics, key: "loss" | "held_out"): Point[] {
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
  ].filter((one) => one.points.length);

export const floorOf = ({ floor }: Metrics) =>
  floor === null ? null : { value: floor, name: "floor of the held-out text" };
