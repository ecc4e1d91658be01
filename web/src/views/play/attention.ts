/** One head, for the followed token: its query against all keys, cell by cell, softmax, and the mix of values. */
import { maxIndex } from "d3-array";
import { chance, number } from "../../trace/number";
import {
  bar,
  between,
  chanceRoom,
  chip,
  ease,
  glide,
  inset,
  mixed,
  numbers,
  rowBox,
  span,
  stageOf,
  text,
  turn,
  wordRoom,
  type Box,
  type Pen,
} from "./pen";
import type { Strip } from "./strips";
import type { Watched } from "./walk";

/** What stands where: words, then keys (later values), then scores (later shares). */
function desk(pen: Pen, watched: Watched) {
  const stage = stageOf(pen);
  const n = watched.words.length;
  const rows = n + 2; // one above for the query, one below for the mix
  const row = (i: number, width = 0): Box => rowBox(stage, i + 1, rows, width);
  const size = Math.min(stage.narrow ? 15 : 18, row(0).height * 0.6);
  const chips = wordRoom(pen, [...watched.words, { text: watched.asker }], size);
  const keys = stage.left + chips + (stage.narrow ? 10 : 40);
  const wide = Math.min((stage.right - keys) * (stage.narrow ? 0.46 : 0.42), 380);
  const score = keys + wide + (stage.narrow ? 10 : 50);
  return { stage, n, row, size, chips, keys, wide, score };
}

type Desk = ReturnType<typeof desk>;

function words(pen: Pen, watched: Watched, { row, size, chips }: Desk, alpha = 1): void {
  watched.words.forEach(({ text: word }, i) =>
    chip(pen, word, row(i, chips), { marked: i === watched.at, size, alpha }),
  );
  if (watched.at === null) chip(pen, watched.asker, row(-1, chips), { marked: true, size, alpha });
}

const keyBox = ({ row, keys, wide }: Desk, i: number): Box =>
  inset({ ...row(i), x: keys, width: wide });

function heading(pen: Pen, d: Desk, left: string, right: string, alpha: number): void {
  const y = d.row(-1).y - 12;
  const look = { size: 12, color: "quiet", alpha };
  text(pen, left, d.keys, y, look);
  text(pen, right, d.score, y, look);
}

/** The stream's rows become keys, and the followed one's a query. */
export function drawQuery(pen: Pen, watched: Watched, t: number): void {
  const d = desk(pen, watched);
  const { query, keys } = watched;
  words(pen, watched, d);
  heading(pen, d, "query", "", glide(t, 0.1, 0.3));
  const target = keyBox(d, -1);
  const asks = glide(t, 0.08, 0.4);
  const from =
    watched.at === null ? { ...target, x: d.stage.left + d.chips - 10 } : keyBox(d, watched.at);
  numbers(pen, query, between(from, target, asks), { alpha: Math.min(asks * 3, 1) });
  for (let i = 0; i < d.n; i++) {
    const offers = ease(turn(span(t, 0.45, 0.95), i, d.n, 3));
    const box = keyBox(d, i);
    numbers(
      pen,
      keys,
      { ...box, x: mixed(d.stage.left + d.chips - 10, box.x, offers) },
      {
        row: i,
        alpha: offers,
      },
    );
  }
}

/** The query is laid on one key after another; each gives a score. */
export function drawScores(pen: Pen, watched: Watched, t: number): void {
  const d = desk(pen, watched);
  const { query, keys, scores } = watched;
  words(pen, watched, d);
  heading(pen, d, "query on keys", "score", 1);
  const along = span(t, 0.06, 0.92) * d.n;
  const here = Math.min(Math.floor(along), d.n - 1);
  const within = along - here;
  for (let i = 0; i < d.n; i++) {
    numbers(pen, keys, keyBox(d, i), { row: i, alpha: i === here && t < 0.92 ? 1 : 0.55 });
    if (i < here || t >= 0.92) score(pen, watched, d, i, 1);
  }
  if (t < 0.92) {
    const slide = glide(within, 0, 0.35);
    const from = here === 0 ? keyBox(d, -1) : upper(keyBox(d, here - 1));
    numbers(pen, query, between(from, upper(keyBox(d, here)), slide));
    meet(pen, keyBox(d, here), glide(within, 0.35, 0.8));
    score(pen, watched, d, here, glide(within, 0.6, 0.95));
  } else numbers(pen, query, between(upper(keyBox(d, d.n - 1)), keyBox(d, -1), glide(t, 0.92, 1)));
  outlineBest(pen, d, scores, glide(t, 0.94, 1));
}

const upper = (box: Box): Box => ({
  ...box,
  y: box.y - box.height * 0.62,
  height: box.height * 0.6,
});

/** The products are added up along the strip. */
function meet(pen: Pen, box: Box, t: number): void {
  if (t <= 0 || t >= 1) return;
  const { context, palette } = pen;
  context.fillStyle = palette.color("accent");
  context.globalAlpha = 0.9;
  context.fillRect(box.x + box.width * t - 1.5, box.y - box.height * 0.7, 3, box.height * 1.8);
  context.globalAlpha = 1;
}

const cell = ({ row, score, stage }: Desk, i: number): Box =>
  inset({ ...row(i), x: score, width: stage.narrow ? 62 : 104 }, 0.14);

function score(pen: Pen, watched: Watched, d: Desk, i: number, alpha: number): void {
  if (alpha <= 0) return;
  const { context, palette } = pen;
  const { scores } = watched;
  const largest = Math.max(...Array.from(scores, Math.abs)) || 1;
  const box = cell(d, i);
  const color = palette.signed((0.55 * scores[i]) / largest); // pale enough to read on
  context.globalAlpha = alpha;
  context.fillStyle = color;
  context.fillRect(box.x, box.y, box.width, box.height);
  context.globalAlpha = 1;
  text(pen, number(scores[i], 3), box.x + box.width - 8, box.y + box.height / 2, {
    mono: true,
    size: Math.min(d.stage.narrow ? 12 : 15, box.height * 0.8),
    align: "right",
    alpha,
  });
}

function outlineBest(pen: Pen, d: Desk, scores: ArrayLike<number>, alpha: number): void {
  if (alpha <= 0) return;
  const best = maxIndex(Array.from(scores));
  const { context, palette } = pen;
  const box = cell(d, best);
  context.globalAlpha = alpha;
  context.strokeStyle = palette.color("ink");
  context.lineWidth = 2;
  context.strokeRect(box.x - 1, box.y - 1, box.width + 2, box.height + 2);
  context.globalAlpha = 1;
}

/** The bar of a share: the longest there could be is all of the attention. */
function shareBox(d: Desk, i: number, share: number, label: number): Box {
  const available = d.stage.right - d.score - 8 - label;
  return inset({ ...d.row(i), x: d.score, width: Math.max(available * share, 1) }, 0.2);
}

function shares(pen: Pen, watched: Watched, d: Desk, t: number, alpha = 1): void {
  if (t <= 0) return;
  const size = Math.min(15, d.row(0).height * 0.55);
  const label = chanceRoom(pen, watched.shares, size);
  for (let i = 0; i < d.n; i++) {
    const share = watched.shares[i];
    const grown = shareBox(d, i, share * t, label);
    bar(pen, grown, "probability", alpha);
    text(pen, chance(share), grown.x + grown.width + 8, grown.y + grown.height / 2, {
      mono: true,
      size,
      alpha: alpha * t,
    });
  }
  if (watched.unseen > 0)
    text(
      pen,
      `${chance(watched.unseen)} to ${watched.hidden} tokens that are not shown`,
      d.score,
      d.row(-1).y + d.row(0).height / 2,
      { size: 12, color: "quiet", alpha: alpha * t },
    );
}

/** Scores become shares of one whole. */
export function drawSoftmax(pen: Pen, watched: Watched, t: number): void {
  const d = desk(pen, watched);
  words(pen, watched, d);
  heading(pen, d, "keys", t < 0.4 ? "score" : "share of attention", 1);
  const melt = glide(t, 0.2, 0.6);
  for (let i = 0; i < d.n; i++) {
    numbers(pen, watched.keys, keyBox(d, i), { row: i, alpha: 0.55 });
    score(pen, watched, d, i, 1 - melt);
  }
  numbers(pen, watched.query, keyBox(d, -1));
  shares(pen, watched, d, glide(t, 0.4, 0.9));
}

/** Values, each by its share, flow into one vector. */
export function drawMix(pen: Pen, watched: Watched, t: number): void {
  const d = desk(pen, watched);
  const { keys, values, mix, shares: share } = watched;
  words(pen, watched, d);
  heading(pen, d, "values", "share of attention", 1);
  shares(pen, watched, d, 1, 1 - 0.5 * glide(t, 0.6, 0.9));
  const arrive = glide(t, 0.05, 0.3);
  const target = keyBox(d, d.n);
  for (let i = 0; i < d.n; i++) {
    const box = keyBox(d, i);
    numbers(pen, keys, box, { row: i, alpha: 0.55 * (1 - arrive) });
    const kept = mixed(1, 0.12 + 0.88 * share[i], glide(t, 0.32, 0.5));
    numbers(pen, values, box, { row: i, alpha: arrive * kept });
    const flow = ease(turn(span(t, 0.5, 0.9), i, d.n, 4));
    if (flow > 0 && flow < 1) flowing(pen, values, i, between(box, target, flow), share[i]);
  }
  numbers(pen, mix, target, { alpha: glide(t, 0.6, 0.95) });
  text(pen, "mix", target.x + target.width + 10, target.y + target.height / 2, {
    size: 12,
    color: "quiet",
    alpha: glide(t, 0.8, 0.95),
  });
}

function flowing(pen: Pen, values: Strip, row: number, box: Box, share: number): void {
  numbers(pen, values, box, { row, alpha: share, frame: false });
}
