/** Drawing for the walk: everything is a function of time, so that it can be scrubbed and stopped. */
import { clip, colorOf, MONO, type Palette } from "../../parts/paint";
import { chance } from "../../trace/number";
import type { Strip } from "./strips";

export interface Pen {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  palette: Palette;
  /** Names what a painted strip was painted with, so that it is painted once. */
  theme: string;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** How far t has come from a to b, from 0 to 1. */
export const span = (t: number, a: number, b: number): number =>
  Math.min(Math.max((t - a) / (b - a), 0), 1);

/** A gentle start and end. */
export const ease = (t: number): number => t * t * (3 - 2 * t);

/** Gently from a to b. */
export const glide = (t: number, a: number, b: number): number => ease(span(t, a, b));

export const mixed = (a: number, b: number, t: number): number => a + (b - a) * t;

export const between = (a: Box, b: Box, t: number): Box => ({
  x: mixed(a.x, b.x, t),
  y: mixed(a.y, b.y, t),
  width: mixed(a.width, b.width, t),
  height: mixed(a.height, b.height, t),
});

/** When the i-th of n things has its turn within t, one after another and overlapping a little. */
export const turn = (t: number, i: number, n: number, overlap = 2): number => {
  const each = 1 / (n + overlap - 1);
  return span(t, i * each, (i + overlap) * each);
};

const SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";

interface Letters {
  size?: number;
  weight?: number;
  color?: string;
  align?: CanvasTextAlign;
  mono?: boolean;
  alpha?: number;
  /** Pixels: a longer text is cut. */
  maxWidth?: number;
  /** Whether it is read from below to above. */
  vertical?: boolean;
}

export function font(pen: Pen, { size = 14, weight = 400, mono = false }: Letters): void {
  pen.context.font = `${weight} ${size}px ${mono ? MONO : SANS}`;
}

export function text(pen: Pen, words: string, x: number, y: number, look: Letters = {}): void {
  const { context, palette } = pen;
  const { color = "ink", align = "left", alpha = 1, maxWidth, vertical = false } = look;
  if (alpha <= 0) return;
  font(pen, look);
  context.globalAlpha = alpha;
  context.fillStyle = palette.color(color);
  context.textAlign = align;
  context.textBaseline = "middle";
  context.save();
  context.translate(x, y);
  if (vertical) context.rotate(-Math.PI / 2);
  context.fillText(maxWidth === undefined ? words : clip(context, words, maxWidth), 0, 0);
  context.restore();
  context.globalAlpha = 1;
}

/** A token in its box. */
export function chip(
  pen: Pen,
  words: string,
  box: Box,
  { marked = false, alpha = 1, size = 14 } = {},
): void {
  if (alpha <= 0) return;
  const { context, palette } = pen;
  context.globalAlpha = alpha;
  context.fillStyle = palette.color(marked ? "mark" : "raised");
  context.strokeStyle = palette.color(marked ? "line-strong" : "line");
  context.lineWidth = 1;
  context.beginPath();
  context.roundRect(box.x, box.y + 1, box.width, box.height - 2, 7);
  context.fill();
  context.stroke();
  const center = [box.x + box.width / 2, box.y + box.height / 2] as const;
  text(pen, words, ...center, {
    size,
    weight: 600,
    align: "center",
    alpha,
    maxWidth: box.width - 8,
  });
}

const painted = new WeakMap<Strip, { theme: string; canvas: HTMLCanvasElement }>();

/** A strip of numbers as a picture of one dot a number; painted once. */
function picture(pen: Pen, strip: Strip): HTMLCanvasElement {
  const known = painted.get(strip);
  if (known?.theme === pen.theme) return known.canvas;
  const canvas = document.createElement("canvas");
  canvas.width = strip.columns;
  canvas.height = strip.rows;
  const context = canvas.getContext("2d")!;
  for (let r = 0; r < strip.rows; r++)
    for (let c = 0; c < strip.columns; c++) {
      const value = strip.values[r * strip.columns + c];
      context.fillStyle = colorOf(value, strip, pen.palette) ?? pen.palette.color("bad");
      context.fillRect(c, r, 1, 1);
    }
  painted.set(strip, { theme: pen.theme, canvas });
  return canvas;
}

interface Shown {
  /** The row that is drawn; all of them where none is named. */
  row?: number;
  alpha?: number;
  /** How much of it is there yet, from the left. */
  upTo?: number;
  frame?: boolean;
}

/** A strip, or one row of it, in a box. */
export function numbers(
  pen: Pen,
  strip: Strip,
  box: Box,
  { row, alpha = 1, upTo = 1, frame = true }: Shown = {},
): void {
  if (alpha <= 0 || upTo <= 0) return;
  const { context, palette } = pen;
  const shown = Math.max(Math.round(strip.columns * upTo), 1);
  const [from, count] = row === undefined ? [0, strip.rows] : [row, 1];
  const wide = (box.width * shown) / strip.columns;
  context.globalAlpha = alpha;
  context.imageSmoothingEnabled = false;
  context.drawImage(
    picture(pen, strip),
    0,
    from,
    shown,
    count,
    box.x,
    box.y,
    wide,
    Math.max(box.height, 1),
  );
  if (frame) {
    context.strokeStyle = palette.color("line");
    context.lineWidth = 1;
    context.strokeRect(box.x - 0.5, box.y - 0.5, wide + 1, box.height + 1);
  }
  context.globalAlpha = 1;
}

export function line(
  pen: Pen,
  points: [number, number][],
  { color = "accent", width = 2, alpha = 1, upTo = 1 } = {},
): void {
  if (alpha <= 0 || upTo <= 0) return;
  const { context, palette } = pen;
  context.globalAlpha = alpha;
  context.strokeStyle = palette.color(color);
  context.lineWidth = width;
  context.lineCap = "round";
  context.beginPath();
  const last = (points.length - 1) * upTo;
  points.forEach(([x, y], i) => {
    if (i === 0) context.moveTo(x, y);
    else if (i <= last) context.lineTo(x, y);
    else if (i - 1 < last) {
      const [from, share] = [points[i - 1], last - (i - 1)];
      context.lineTo(mixed(from[0], x, share), mixed(from[1], y, share));
    }
  });
  context.stroke();
  context.globalAlpha = 1;
}

export function dot(pen: Pen, x: number, y: number, r: number, color = "accent", alpha = 1): void {
  if (alpha <= 0) return;
  const { context, palette } = pen;
  context.globalAlpha = alpha;
  context.fillStyle = palette.color(color);
  context.beginPath();
  context.arc(x, y, r, 0, 2 * Math.PI);
  context.fill();
  context.globalAlpha = 1;
}

export function bar(pen: Pen, box: Box, color = "probability", alpha = 1): void {
  if (alpha <= 0 || box.width <= 0 || box.height <= 0) return;
  const { context, palette } = pen;
  context.globalAlpha = alpha;
  context.fillStyle = palette.color(color);
  context.beginPath();
  context.roundRect(box.x, box.y, box.width, box.height, Math.min(4, box.width / 2));
  context.fill();
  context.globalAlpha = 1;
}

/** Where the parts of a picture stand: the spine at the left, a row for every token, maxWidth beside. */
export interface Stage {
  narrow: boolean;
  spine: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

const WIDEST = 1080; // pixels that a picture takes

export function stageOf({ width, height }: Pen): Stage {
  const narrow = width < 640;
  const spine = narrow ? 14 : 44;
  const beside = Math.max((width - WIDEST) / 2, 40);
  return {
    narrow,
    spine,
    left: narrow ? spine + 16 : Math.max(beside, spine + 36),
    right: width - (narrow ? 10 : beside),
    top: narrow ? 34 : 56,
    bottom: height - (narrow ? 14 : 28),
  };
}

/** The box of the i-th of n rows, under one another, centered in the height. */
export function rowBox(stage: Stage, i: number, n: number, width: number): Box {
  const high = Math.min((stage.bottom - stage.top) / n, 52);
  const top = (stage.top + stage.bottom - high * n) / 2;
  return { x: stage.left, y: top + i * high, width, height: high };
}

/** The same row, less high: numbers beside a token. */
export const inset = ({ x, y, width, height }: Box, by = 0.22): Box => ({
  x,
  y: y + height * by,
  width,
  height: height * (1 - 2 * by),
});

/** The width that the longest word takes in its box. */
export function wordRoom(pen: Pen, words: { text: string }[], size: number): number {
  font(pen, { size, weight: 600 });
  const longest = Math.max(...words.map(({ text }) => pen.context.measureText(text).width));
  return Math.min(longest + 22, pen.width < 640 ? 92 : 180);
}

/** The width that the longest of some probabilities takes, as written beside bars. */
export function chanceRoom(pen: Pen, shares: ArrayLike<number>, size: number): number {
  font(pen, { size, mono: true });
  return Math.max(...Array.from(shares, (share) => pen.context.measureText(chance(share)).width));
}
