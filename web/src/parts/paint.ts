/** Painting the visible window of a matrix on a canvas. */
import { number } from "../trace/number";
import { isInteger } from "../trace/node";
import { channels } from "../state/theme.svelte";
import { columnLabel, isMasked, layout, rowLabel, type Plane, type Scale } from "./grid";

export interface Palette {
  color(name: string): string;
  signed(share: number): string;
  probability(share: number): string;
}

export interface Look {
  side: number;
  head: number;
  cell: { width: number; height: number };
  numbered: boolean;
  /** Shares are written with two decimals, and those that would be 0.00 not at all. */
  brief: boolean;
  /** Words of columns are written upwards. */
  upright: boolean;
  scale: Scale;
  marked: number | null;
  width: number;
  height: number;
}

export const MONO = 'ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';

/** Make the canvas as sharp as the screen; returns what to draw with, in CSS pixels. */
export function sharpen(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.max(Math.round(width * ratio), 1);
  canvas.height = Math.max(Math.round(height * ratio), 1);
  const context = canvas.getContext("2d")!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** The color of a value; null where nothing is painted (a whole number, a number that is not here). */
export function colorOf(value: number, scale: Scale, palette: Palette): string | null {
  if (scale.kind === "ids" || !Number.isFinite(value)) return null;
  const share = Math.max(Math.min(value / scale.largest, 1), -1);
  return scale.kind === "probability"
    ? palette.probability(Math.max(share, 0))
    : palette.signed(share);
}

export function paint(
  canvas: HTMLCanvasElement,
  plane: Plane,
  look: Look,
  scroll: { x: number; y: number },
  palette: Palette,
): void {
  const context = sharpen(canvas, look.width, look.height);
  const { side, head, cell } = look;
  const { base, byRow, byColumn } = layout(plane);
  const values = plane.trace.values;
  const integers = isInteger(plane.node);
  const [ink, surface, line] = [
    palette.color("ink"),
    palette.color("surface"),
    palette.color("line"),
  ];
  const r0 = Math.floor(scroll.y / cell.height);
  const c0 = Math.floor(scroll.x / cell.width);
  const r1 = Math.min(Math.ceil((scroll.y + look.height - head) / cell.height), plane.rows);
  const c1 = Math.min(Math.ceil((scroll.x + look.width - side) / cell.width), plane.columns);
  context.fillStyle = surface;
  context.fillRect(0, 0, look.width, look.height);
  context.save();
  context.beginPath();
  context.rect(side, head, look.width - side, look.height - head);
  context.clip();
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.font = `12px ${MONO}`;
  const gap = cell.width > 9 && cell.height > 9 ? 1 : 0;
  const masked = (r: number, c: number) => isMasked(plane, r, c);
  for (let r = r0; r < r1; r++) {
    for (let c = c0; c < c1; c++) {
      const x = side + c * cell.width - scroll.x;
      const y = head + r * cell.height - scroll.y;
      if (masked(r, c)) {
        const from = c;
        while (c + 1 < c1 && masked(r, c + 1)) c++;
        hatch(
          context,
          x,
          y,
          (c - from + 1) * cell.width - gap,
          cell.height - gap,
          palette.color("hatch"),
        );
        continue;
      }
      const value = values.peek(plane.node, base + r * byRow + c * byColumn);
      if (value === undefined) continue;
      const fill = colorOf(value, look.scale, palette);
      if (fill) {
        context.fillStyle = fill;
        context.fillRect(
          x,
          y,
          cell.width - gap + (gap ? 0 : 0.5),
          cell.height - gap + (gap ? 0 : 0.5),
        );
      } else if (!Number.isFinite(value)) {
        context.fillStyle = palette.color("bad");
        context.fillRect(x, y, cell.width - gap, cell.height - gap);
      }
      if (Math.abs(value) > look.scale.largest) corner(context, x, y, cell, ink); // beyond the scale
      if (look.numbered) {
        context.fillStyle = fill && isDark(fill) ? "#fff" : fill && !isDark(fill) ? "#10161d" : ink;
        const text = look.brief ? briefly(value) : number(value, 4, integers);
        context.fillText(text, x + cell.width - (look.brief ? 2 : 6), y + cell.height / 2);
      }
    }
  }
  context.restore();
  labels(context, plane, look, scroll, { r0, r1, c0, c1 }, palette, line);
}

/** A share with two decimals; nothing where that would be zero. */
const briefly = (share: number): string => (share < 0.005 ? "" : share.toFixed(2));

/** Paint a picture of one dot a number; it is as large as it has dots. */
export function dots(
  canvas: HTMLCanvasElement,
  rows: number,
  columns: number,
  color: (row: number, column: number) => string | null,
): void {
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  const known = new Map<string, number[]>(); // a ramp has few colors, a value many numbers
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const name = color(r, c);
      if (name === null) continue;
      const rgb = known.get(name) ?? known.set(name, [...channels(name), 255]).get(name)!;
      image.data.set(rgb, 4 * (r * columns + c));
    }
  }
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}

/** A cell that is stronger than its color says: a notch in its corner. */
function corner(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  cell: { width: number; height: number },
  ink: string,
): void {
  const side = Math.min(6, cell.width, cell.height);
  context.fillStyle = ink;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + side, y);
  context.lineTo(x, y + side);
  context.fill();
}

function labels(
  context: CanvasRenderingContext2D,
  plane: Plane,
  look: Look,
  scroll: { x: number; y: number },
  shown: { r0: number; r1: number; c0: number; c1: number },
  palette: Palette,
  line: string,
): void {
  const { side, head, cell } = look;
  const [ink, quiet, mark] = [palette.color("ink"), palette.color("quiet"), palette.color("mark")];
  context.font = `12px ${MONO}`;
  context.textBaseline = "middle";
  if (plane.rowAxis) {
    context.textAlign = "right";
    const every = Math.max(Math.ceil(13 / cell.height), 1);
    for (let r = shown.r0; r < shown.r1; r++) {
      const y = head + r * cell.height - scroll.y;
      const middle = Math.max(y + cell.height / 2, head + 7); // below the column heads
      if (middle > y + cell.height) continue;
      const chosen = look.marked === r;
      if (chosen) {
        context.fillStyle = mark;
        context.fillRect(0, y, side - 3, cell.height - 1);
      }
      const covered = look.marked !== null && Math.abs(r - look.marked) < every; // its label has no room beside the marked one's
      if (!chosen && (covered || r % every)) continue;
      context.fillStyle = chosen ? ink : quiet;
      context.fillText(clip(context, rowLabel(plane, r), side - 12), side - 8, middle);
    }
  }
  if (!plane.columnAxis) return;
  context.fillStyle = palette.color("surface");
  context.fillRect(0, 0, look.width, head);
  context.textAlign = "center";
  const words = plane.trace.word(plane.columnAxis, 0) !== "";
  if (look.upright) return uprightLabels(context, plane, look, scroll, shown, quiet, line);
  const wide = Math.max(8 * String(plane.first.column + plane.columns).length + 6, 30);
  const every = Math.max(Math.ceil((words ? 44 : wide) / cell.width), 1);
  for (let c = shown.c0; c < shown.c1; c++) {
    const x = side + c * cell.width - scroll.x;
    if (
      c % every ||
      x < side - cell.width / 2 ||
      (cell.width < 30 && x + (cell.width + wide) / 2 > look.width)
    )
      continue; // it would be cut off
    context.fillStyle = quiet;
    const index = plane.first.column + c;
    const label = words ? plane.trace.word(plane.columnAxis, index) : String(index);
    context.fillText(
      clip(context, label, Math.max(cell.width * every - 2, 24)),
      x + cell.width / 2,
      head / 2,
    );
  }
  underline(context, look, line);
}

function underline(context: CanvasRenderingContext2D, { side, head, width }: Look, line: string) {
  context.strokeStyle = line;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(side, head - 0.5);
  context.lineTo(width, head - 0.5);
  context.stroke();
}

/** The words of narrow columns, read upwards; of very narrow ones every second, third, ... */
function uprightLabels(
  context: CanvasRenderingContext2D,
  plane: Plane,
  look: Look,
  scroll: { x: number; y: number },
  shown: { c0: number; c1: number },
  color: string,
  line: string,
): void {
  const { side, head, cell } = look;
  const every = Math.max(Math.ceil(13 / cell.width), 1);
  context.fillStyle = color;
  context.textAlign = "left";
  for (let c = shown.c0; c < shown.c1; c++) {
    const x = side + c * cell.width - scroll.x + cell.width / 2;
    if (c % every || x < side) continue;
    context.save();
    context.translate(x, head - 4);
    context.rotate(-Math.PI / 2);
    context.fillText(clip(context, columnLabel(plane, c), head - 8), 0, 0);
    context.restore();
  }
  underline(context, look, line);
}

/** As much of a text as `room` pixels hold, with … where more follows. */
export function clip(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
}

export function hatch(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  color: string,
): void {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = -height; at < width; at += 5) {
    context.moveTo(x + at, y + height);
    context.lineTo(x + at + height, y);
  }
  context.stroke();
  context.restore();
}

/** Whether white letters read better than black on a color written `rgb(r, g, b)`. */
function isDark(color: string): boolean {
  const [r, g, b] = color.match(/\d+/g)!.map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b < 140;
}
