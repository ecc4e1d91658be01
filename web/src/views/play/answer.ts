/** Logits for the whole vocabulary, their probabilities, and the word that is most probable. */
import { extent } from "d3-array";
import { chance } from "../../trace/number";
import {
  bar,
  chanceRoom,
  chip,
  font,
  glide,
  mixed,
  span,
  stageOf,
  text,
  turn,
  type Box,
  type Pen,
} from "./pen";
import type { Walk } from "./walk";

const LINES = 400; // in a skyline; of more tokens each line is the highest of several

interface Skyline {
  heights: Float64Array;
  /** Which line a token is in. */
  at: (id: number) => number;
  each: number;
}

const known = new WeakMap<Float64Array, Skyline>();

function skyline(values: Float64Array): Skyline {
  const cached = known.get(values);
  if (cached) return cached;
  const each = Math.ceil(values.length / LINES);
  const heights = new Float64Array(Math.ceil(values.length / each)).fill(-Infinity);
  values.forEach((value, id) => {
    const line = Math.floor(id / each);
    heights[line] = Math.max(heights[line], value);
  });
  const made = { heights, at: (id: number) => Math.floor(id / each), each };
  known.set(values, made);
  return made;
}

/** The ground that the lines stand on, and how high the highest may be. */
function ground(pen: Pen): Box {
  const { left, right, top, bottom } = stageOf(pen);
  const high = Math.min(bottom - top - 40, 360);
  const y = (top + bottom) / 2 - high / 2 + 20;
  return { x: left, y, width: right - left, height: high };
}

/** Logits have no zero of their own: the lines begin below the lowest. */
function standing(logits: Float64Array): (value: number) => number {
  const [low = 0, high = 0] = extent(logits);
  return (value) => 0.04 + (0.96 * (value - low)) / (high - low || 1);
}

function lines(pen: Pen, box: Box, heights: (i: number) => number, n: number, upTo: number): void {
  const { context, palette } = pen;
  const wide = box.width / n;
  context.fillStyle = palette.color("probability");
  const shown = Math.ceil(n * upTo);
  for (let i = 0; i < shown; i++) {
    const high = Math.max(heights(i), 0) * box.height;
    context.globalAlpha = 0.75;
    context.fillRect(box.x + i * wide, box.y + box.height - high, Math.max(wide * 0.8, 0.6), high);
  }
  context.globalAlpha = 1;
  context.fillStyle = palette.color("line-strong");
  context.fillRect(box.x, box.y + box.height, box.width, 1);
}

/** Names over the highest lines, where they don't stand on one another. */
function names(pen: Pen, walk: Walk, box: Box, high: (id: number) => number, alpha: number): void {
  if (alpha <= 0) return;
  const { at, heights } = skyline(walk.logits);
  const taken: [number, number][] = [];
  font(pen, { size: 13, weight: 600 });
  for (const { id, word } of walk.best) {
    const x = box.x + ((at(id) + 0.5) * box.width) / heights.length;
    const half = pen.context.measureText(word).width / 2 + 5;
    const center = Math.min(Math.max(x, box.x + half), box.x + box.width - half);
    if (taken.some(([from, to]) => center - half < to && center + half > from)) continue;
    taken.push([center - half, center + half]);
    const y = box.y + box.height - high(id) * box.height - 12;
    text(pen, word, center, y, { size: 13, weight: 600, align: "center", alpha });
  }
}

export function drawLogits(pen: Pen, walk: Walk, t: number): void {
  const box = ground(pen);
  const { heights } = skyline(walk.logits);
  const stand = standing(walk.logits);
  lines(pen, box, (i) => stand(heights[i]), heights.length, glide(t, 0.05, 0.7));
  names(pen, walk, box, (id) => stand(walk.logits[id]), glide(t, 0.72, 0.9));
}

export function drawProbabilities(pen: Pen, walk: Walk, t: number): void {
  const box = ground(pen);
  const [from, to] = [skyline(walk.logits).heights, skyline(walk.probs).heights];
  const stand = standing(walk.logits);
  const top = Math.max(...to) || 1;
  const melt = glide(t, 0.1, 0.5);
  const list = glide(t, 0.55, 0.7);
  const { context } = pen;
  context.save();
  const height = (i: number) => mixed(stand(from[i]), to[i] / top, melt) * (1 - list);
  lines(pen, box, height, from.length, 1);
  names(
    pen,
    walk,
    box,
    (id) => mixed(stand(walk.logits[id]), walk.probs[id] / top, melt),
    1 - list,
  );
  context.restore();
  ranking(pen, walk, span(t, 0.55, 1));
}

/** The most probable tokens with bars in per cent: a full bar is certainty. */
function ranking(pen: Pen, walk: Walk, t: number, faded = 1): void {
  if (t <= 0) return;
  const stage = stageOf(pen);
  const shown = walk.best.map(({ id }) => walk.probs[id]);
  const n = shown.length;
  const high = Math.min((stage.bottom - stage.top) / n, 54);
  const top = (stage.top + stage.bottom - n * high) / 2;
  const words = stage.narrow ? 84 : 150;
  const x = stage.left + words;
  const width = Math.min(stage.right - x - 10 - chanceRoom(pen, shown, 13), 700);
  walk.best.forEach(({ word }, i) => {
    const mine = glide(turn(t, i, n, 3), 0, 1);
    const alpha = mine * (i === 0 ? 1 : faded);
    const y = top + i * high;
    const share = shown[i];
    const middle = y + high / 2;
    text(pen, word, x - 12, middle, {
      size: stage.narrow ? 15 : 18,
      weight: 600,
      align: "right",
      alpha,
      maxWidth: words,
    });
    bar(pen, { x, y: y + high * 0.22, width: width, height: high * 0.56 }, "line", alpha * 0.45);
    const long = Math.max(width * share * mine, 1.5);
    bar(pen, { x, y: y + high * 0.22, width: long, height: high * 0.56 }, "probability", alpha);
    text(pen, chance(share), x + width + 10, middle, { size: 13, mono: true, alpha });
  });
}

/** The most probable word joins the text. */
export function drawChoice(pen: Pen, walk: Walk, t: number): void {
  const stage = stageOf(pen);
  ranking(pen, walk, 1, 1 - glide(t, 0.05, 0.25));
  const gone = glide(t, 0.3, 0.45);
  const { context, palette } = pen;
  context.globalAlpha = gone;
  context.fillStyle = palette.color("ground");
  context.fillRect(0, 0, pen.width, pen.height);
  context.globalAlpha = 1;
  const size = stage.narrow ? 22 : 38;
  font(pen, { size, weight: 600 });
  const { words: before, at, asks } = walk.read;
  const index = asks ? before.length : at; // a blank is filled where it stands
  const words = before.map(({ text }) => text);
  words[index] = walk.best[0].word;
  const widths = words.map((word) => context.measureText(word).width);
  const lines: number[][] = [[]];
  const available = stage.right - (stage.narrow ? 14 : 60) - 20;
  let wide = 0;
  widths.forEach((width, i) => {
    if (wide + width > available && lines.at(-1)!.length) {
      lines.push([]);
      wide = 0;
    }
    lines.at(-1)!.push(i);
    wide += width + size * 0.28;
  });
  const y0 = (stage.top + stage.bottom) / 2 - ((lines.length - 1) * size * 1.5) / 2;
  lines.forEach((line, l) => {
    const total = line.reduce((sum, i) => sum + widths[i] + size * 0.28, -size * 0.28);
    let x = (pen.width - total) / 2;
    for (const i of line) {
      const joined = i === index;
      const come = joined ? glide(t, 0.5, 0.8) : gone;
      const y = y0 + l * size * 1.5 + (joined ? (1 - come) * 60 : 0);
      if (joined) {
        const pad = size * 0.2;
        const box = {
          x: x - pad,
          y: y - size * 0.72,
          width: widths[i] + 2 * pad,
          height: size * 1.44,
        };
        chip(pen, words[i], box, { alpha: come, size, marked: true });
      } else text(pen, words[i], x, y, { size, weight: 600, alpha: come });
      x += widths[i] + size * 0.28;
    }
  });
}
