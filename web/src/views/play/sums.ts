/** What is added to the followed token: the heads' result, the neurons', and all that other blocks write. */
import { chance, number } from "../../trace/number";
import {
  between,
  chip,
  dot,
  glide,
  numbers,
  span,
  stageOf,
  text,
  turn,
  type Box,
  type Pen,
} from "./pen";
import type { Neurons, Strip, Sum } from "./strips";
import type { Reading } from "./walk";

/** The boxes of the terms of a sum, under one another. */
function terms(pen: Pen): { box: (i: number) => Box; labels: number } {
  const { narrow, left, right, top, bottom } = stageOf(pen);
  const labels = narrow ? 0 : 200;
  const x = left + labels;
  const high = Math.min((bottom - top) / 8.5, 48);
  const y0 = (top + bottom) / 2 - high * 3.4;
  const width = Math.min(right - x, 760);
  return { labels, box: (i) => ({ x, y: y0 + i * high * 2.4, width, height: high }) };
}

function label(pen: Pen, words: string, box: Box, labels: number, alpha: number): void {
  const look = { size: 15, color: "quiet", alpha };
  if (labels) text(pen, words, box.x - 16, box.y + box.height / 2, { ...look, align: "right" });
  else text(pen, words, box.x, box.y - 11, { ...look, size: 12 });
}

function sign(pen: Pen, box: Box, mark: string, alpha: number): void {
  const y = box.y - box.height * 0.7;
  const look = { size: 22, weight: 700, color: "accent", align: "center", alpha } as const;
  text(pen, mark, box.x + box.width / 2, y, look);
}

/** Two vectors are added, number by number. */
export function drawAddition(pen: Pen, word: string, sum: Sum, added: string, t: number): void {
  const { box, labels } = terms(pen);
  const [one, two, three] = [0, 1, 2].map(box);
  numbers(pen, sum.before, one);
  label(pen, `“${word}” until now`, one, labels, 1);
  const arrive = glide(t, 0.1, 0.35);
  const aside = { ...two, x: two.x + 60 * (1 - arrive) };
  sign(pen, two, "+", arrive);
  numbers(pen, sum.added, aside, { alpha: arrive });
  label(pen, added, two, labels, arrive);
  const done = span(t, 0.42, 0.88);
  sign(pen, three, "=", glide(t, 0.38, 0.45));
  numbers(pen, sum.after, three, { upTo: done });
  label(pen, `“${word}” from now on`, three, labels, glide(t, 0.38, 0.5));
  if (done > 0 && done < 1) {
    const x = one.x + one.width * done;
    for (const row of [one, two, three]) dot(pen, x, row.y + row.height / 2, 4);
  }
}

/** Every neuron as a cell; `from`: the vector that they look at. */
export function drawNeurons(
  pen: Pen,
  word: string,
  neurons: Neurons,
  from: Strip | undefined,
  t: number,
): void {
  const stage = stageOf(pen);
  const x = stage.left;
  const width = stage.right - x;
  const high = stage.bottom - stage.top;
  const into: Box = { x, y: stage.top + 14, width: width * 0.6, height: Math.min(24, high / 10) };
  if (from) {
    numbers(pen, from, into);
    text(pen, `“${word}”, normalized first`, into.x, into.y - 12, {
      size: 12,
      color: "quiet",
    });
  }
  const count = neurons.strip.columns;
  const columns = gridColumns(count, width, high * 0.55);
  const lines = Math.ceil(count / columns);
  const cell = Math.min(width / columns, (high * 0.55) / lines, 34);
  const top = into.y + into.height + high * 0.1;
  const grid: Strip = gridOf(neurons.strip, columns, lines);
  const { context, palette } = pen;
  // they light up line by line
  for (let r = 0; r < lines; r++) {
    const alpha = glide(turn(span(t, 0.1, 0.7), r, lines, 3), 0, 1);
    numbers(
      pen,
      grid,
      { x, y: top + r * cell, width: columns * cell, height: cell },
      { row: r, alpha, frame: false },
    );
  }
  context.strokeStyle = palette.color("line");
  context.strokeRect(x - 0.5, top - 0.5, columns * cell + 1, lines * cell + 1);
  const marked = glide(t, 0.72, 0.85);
  if (marked > 0) {
    const at = {
      x: x + (neurons.best % columns) * cell,
      y: top + Math.floor(neurons.best / columns) * cell,
    };
    context.globalAlpha = marked;
    context.strokeStyle = palette.color("ink");
    context.lineWidth = 2;
    context.strokeRect(at.x - 2, at.y - 2, cell + 4, cell + 4);
    context.globalAlpha = 1;
    text(pen, `neuron ${neurons.best}: ${number(neurons.value, 3)}`, x, top + lines * cell + 18, {
      size: 13,
      mono: true,
      alpha: marked,
    });
  }
}

const grids = new WeakMap<Strip, Strip>();

/** A strip broken into lines; cells beyond its end are zero's color. */
function gridOf(strip: Strip, columns: number, rows: number): Strip {
  const known = grids.get(strip);
  if (known?.columns === columns && known.rows === rows) return known;
  const values = new Float64Array(columns * rows);
  values.set(strip.values);
  const result = { ...strip, values, rows, columns };
  grids.set(strip, result);
  return result;
}

/** Of how many columns a grid of so many cells is, if it has the room's form. */
function gridColumns(count: number, width: number, height: number): number {
  const wished = Math.sqrt((count * width) / height);
  const power = 2 ** Math.round(Math.log2(wished));
  return Math.min(Math.max(power, 8), count);
}

/** Where the parts of a block's row stand. */
function passingRow(pen: Pen, words: number, blocks: number, guesses: boolean) {
  const stage = stageOf(pen);
  const high = Math.min((stage.bottom - stage.top - 30) / blocks, 150);
  const top = (stage.top + stage.bottom - high * blocks) / 2;
  const labels = stage.narrow ? 30 : 130;
  const guess = guesses ? (stage.narrow ? 84 : 190) : 0;
  const x = stage.left + labels;
  const available = stage.right - x - guess;
  const gap = stage.narrow ? 8 : 30;
  const looks = Math.min(available * 0.45, 64 * words);
  return { stage, high, top, x, gap, looks, guess, wide: available - looks - 2 * gap };
}

const UPRIGHT = 64; // pixels of words that stand on end

/** A row for every block: where its heads look, the stream after it, and what the model would say there. */
export function drawPassing(pen: Pen, read: Reading, from: number, to: number, t: number): void {
  const some = read.passing.slice(from, to);
  const { stage, high, top, x, gap, looks, guess, wide } = passingRow(
    pen,
    read.seen.length,
    some.length,
    some[0].guess !== null,
  );
  const column = looks / read.seen.length;
  const head = { size: 13, color: "quiet" } as const;
  const [looking, streaming, guessing] = stage.narrow
    ? ["heads look", "stream", "guess"]
    : ["its heads look at", "the stream after it", "its guess there"];
  const y0 = top - 16;
  const [level, upright] = [column >= 40, column >= 14 && top - stage.top > UPRIGHT];
  text(pen, looking, x, y0 - (level ? 20 : upright ? UPRIGHT : 0), {
    ...head,
    maxWidth: looks + gap,
  });
  read.seen.forEach(({ text: word }, i) => {
    const at = x + (i + 0.5) * column;
    const look = { size: 12, align: "center", maxWidth: column - 4 } as const;
    if (level) text(pen, word, at, y0 + 4, look);
    else if (upright)
      text(pen, word, at, y0 + 8, { size: 12, maxWidth: UPRIGHT - 8, vertical: true });
  });
  text(pen, streaming, x + looks + gap, y0, { ...head, maxWidth: wide + gap });
  if (some[0]?.guess)
    text(pen, guessing, x + looks + wide + 2 * gap, y0, { ...head, maxWidth: guess });
  some.forEach((block, i) => {
    const mine = turn(t, i, some.length, 1.5);
    const y = top + i * high;
    const middle = y + high / 2;
    const pad = Math.min(high * 0.14, 12);
    const [see, write] = [glide(mine, 0, 0.4), glide(mine, 0.35, 0.8)];
    const picture = { x, y: y + pad, width: looks, height: high - 2 * pad };
    numbers(pen, block.pattern, picture, { alpha: see });
    text(pen, stage.narrow ? String(block.block) : `block ${block.block}`, stage.left, middle, {
      size: stage.narrow ? 13 : 15,
      weight: 600,
      alpha: see,
    });
    const each = picture.height / block.pattern.rows;
    for (let r = 0; r < block.pattern.rows && each >= 14 && !stage.narrow; r++)
      text(pen, `head ${r}`, x - 10, picture.y + (r + 0.5) * each, {
        size: 11,
        color: "quiet",
        align: "right",
        alpha: see,
      });
    const strip: Box = {
      x: x + looks + gap,
      y: middle - Math.min(high * 0.22, 14),
      width: wide,
      height: Math.min(high * 0.44, 28),
    };
    const entering = { ...strip, x: x + looks, width: 2 };
    numbers(pen, block.after, between(entering, strip, write), { alpha: write });
    if (!block.guess) return;
    const said = glide(mine, 0.7, 1);
    const chips = guess - gap - (stage.narrow ? 4 : 70);
    const box = { x: strip.x + wide + gap, y: middle - 15, width: chips, height: 30 };
    chip(pen, block.guess.word, box, { alpha: said, size: 14 });
    if (!stage.narrow)
      text(pen, chance(block.guess.prob), box.x + box.width + 8, middle, {
        size: 13,
        mono: true,
        color: "quiet",
        alpha: said,
      });
  });
}
