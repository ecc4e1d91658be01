/** How large the cells of a matrix are drawn, with numbers or without, and which of them are in view. */
import { count } from "../trace/number";
import { columnLabel, rowLabel, type Plane } from "./grid";

const NUMBERS = { width: 80, height: 26 }; // room for -0.0001234
const SHARES = 34; // room for 0.12
const PHONE = 480; // pixels: narrower, a picture that fits says more than numbers that don't
const UPRIGHT = 44; // pixels: a word over a narrower column is turned
const HEAD = 22; // the row of labels, where they are not turned

/** Pixels, and whether the reader asked for the numbers, or for the whole. */
interface Frame {
  available: number;
  maxHeight: number;
  zoomed: boolean | null;
}

interface Window {
  r0: number;
  r1: number;
  c0: number;
  c1: number;
}

export function measured(plane: Plane, isShare: boolean, frame: Frame) {
  const { available, maxHeight, zoomed } = frame;
  const side = plane.rowAxis === null ? 8 : sideOf(plane);
  const wideOf = (width: number) => side + plane.columns * width;
  /** Whether shares fit, with two decimals, where whole numbers would be cut off. */
  const short = isShare && wideOf(NUMBERS.width) > available && wideOf(SHARES) <= available;
  const fits =
    available < PHONE
      ? short || wideOf(NUMBERS.width) <= available
      : plane.columns * NUMBERS.width <= available * 2.2 || plane.columns <= 16;
  const numbered = zoomed ?? fits;
  const brief = short && zoomed === null;
  const cell = numbered ? numberedCell() : fittedCell();
  const upright =
    plane.columnAxis !== null &&
    plane.trace.word(plane.columnAxis, 0) !== "" &&
    cell.width < UPRIGHT;
  const head = upright ? headOf(plane) : HEAD;
  const [wide, high] = [wideOf(cell.width), head + plane.rows * cell.height];
  const view = {
    width: Math.min(available, wide + 1),
    height: Math.min(maxHeight + head - HEAD, high + 1),
  };

  function numberedCell() {
    if (brief)
      return { width: Math.floor((available - side - 1) / plane.columns), height: NUMBERS.height };
    const spare = Math.floor((available - side) / plane.columns);
    return { width: Math.max(NUMBERS.width, Math.min(spare, 96)), height: NUMBERS.height };
  }

  function fittedCell() {
    const width = Math.max((available - side - 2) / plane.columns, 2);
    const height = Math.max(Math.min((maxHeight - HEAD) / plane.rows, 26), 3);
    return { width: Math.min(width, 26), height: Math.max(height, Math.min(width, 10)) };
  }

  function windowAt(scroll: { x: number; y: number }): Window {
    const r0 = Math.min(Math.floor(scroll.y / cell.height), plane.rows - 1);
    const c0 = Math.min(Math.floor(scroll.x / cell.width), plane.columns - 1);
    const r1 = Math.min(Math.ceil((scroll.y + view.height - head) / cell.height), plane.rows);
    const c1 = Math.min(Math.ceil((scroll.x + view.width - side) / cell.width), plane.columns);
    return {
      r0: Math.max(r0, 0),
      c0: Math.max(c0, 0),
      r1: Math.max(r1, r0 + 1),
      c1: Math.max(c1, c0 + 1),
    };
  }

  return { side, head, cell, numbered, brief, upright, wide, high, view, windowAt };
}

function sideOf(plane: Plane): number {
  let longest = String(plane.of.rows).length;
  for (let r = 0; r < Math.min(plane.rows, 400); r++)
    longest = Math.max(longest, rowLabel(plane, r).length);
  return Math.min(Math.max(longest * 7.4 + 14, 34), 132);
}

function headOf(plane: Plane): number {
  let longest = 0;
  for (let c = 0; c < plane.columns; c++) longest = Math.max(longest, columnLabel(plane, c).length);
  return Math.min(longest * 7.4 + 10, 96);
}

/** In words, which part of a matrix is in view, where it is not all of it. */
export function shownPart(plane: Plane, { r0, r1, c0, c1 }: Window): string {
  const { first, of } = plane;
  const parts = [
    ...range(plane.rowAxis, r0, r1, plane.rows, first.row, of.rows),
    ...range(plane.columnAxis, c0, c1, plane.columns, first.column, of.columns),
  ];
  const isPart = r1 - r0 < plane.rows || c1 - c0 < plane.columns;
  return isPart ? `shown: ${parts.join(", ")}; scroll for the rest` : "";
}

function range(
  axis: string | null,
  from: number,
  to: number,
  n: number,
  first: number,
  of: number,
): string[] {
  return axis === null || to - from >= n
    ? []
    : [`${axis} ${first + from} to ${first + to - 1} of ${count(of)}`];
}
