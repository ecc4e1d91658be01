/** Saving what is shown: tables as CSV, pictures as SVG or PNG. */
import { format } from "../trace/address";
import { full } from "../trace/number";
import type { Palette } from "./paint";
import { colorOf } from "./paint";
import {
  columnLabel,
  fetchWindow,
  isMasked,
  rowLabel,
  valueAt,
  type Plane,
  type Scale,
} from "./grid";

/** Offer a file to the reader. */
export function save(name: string, content: BlobPart, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const quoted = (cell: string): string =>
  /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
// a token such as "=" or "+" must not become a formula in a spreadsheet
const harmless = (cell: string): string => (/^[=+\-@\t]/.test(cell) ? `'${cell}` : cell);

/** Rows of cells as CSV. */
export const csv = (rows: (string | number)[][]): string =>
  rows
    .map((row) =>
      row.map((cell) => (typeof cell === "number" ? full(cell) : quoted(harmless(cell)))).join(","),
    )
    .join("\n");

/** All numbers of a plane, with its labels, in full precision. */
export async function planeCsv(p: Plane): Promise<string> {
  const values = await planeValues(p);
  const head = [
    `${p.rowAxis ?? ""}\\${p.columnAxis ?? ""}`,
    ...Array.from({ length: p.columns }, (_, c) => columnLabel(p, c)),
  ];
  return csv([head, ...values.map((row, r) => [rowLabel(p, r), ...row])]);
}

/** A plane as an SVG picture with its labels. */
export async function planeSvg(p: Plane, scale: Scale, palette: Palette): Promise<string> {
  const values = await planeValues(p);
  const cell = Math.max(4, Math.min(26, Math.floor(900 / p.columns)));
  const [side, head] = [110, 24];
  const [width, height] = [side + p.columns * cell, head + p.rows * cell];
  const fill = (value: number, r: number, c: number) =>
    isMasked(p, r, c)
      ? palette.color("hatch")
      : (colorOf(value, scale, palette) ??
        palette.color(Number.isFinite(value) ? "surface" : "bad"));
  const rects = values.flatMap((row, r) =>
    row.map(
      (value, c) =>
        `<rect x="${side + c * cell}" y="${head + r * cell}" width="${cell - 0.5}" height="${cell - 0.5}" fill="${fill(value, r, c)}"/>`,
    ),
  );
  const text = (x: number, y: number, anchor: string, words: string) =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(words)}</text>`;
  const rows =
    p.rowAxis && cell >= 8
      ? values.map((_, r) => text(side - 6, head + (r + 0.7) * cell, "end", rowLabel(p, r)))
      : [];
  const columns =
    p.columnAxis && cell >= 14
      ? Array.from({ length: p.columns }, (_, c) =>
          text(
            side + (c + 0.5) * cell,
            head - 6,
            "middle",
            p.trace.word(p.columnAxis!, p.first.column + c) || String(p.first.column + c),
          ),
        )
      : [];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="monospace" font-size="10" fill="${palette.color("ink")}">` +
    `<title>${escaped(named(p))}</title><rect width="${width}" height="${height}" fill="${palette.color("surface")}"/>${[...rects, ...rows, ...columns].join("")}</svg>`
  );
}

/** An SVG picture as PNG bytes, at twice its size. */
export async function png(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width * 2;
  canvas.height = image.height * 2;
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) =>
      blob ? resolve(blob) : reject(new Error("the picture could not be made")),
    ),
  );
}

/** What a plane is: the value's address with the indices that are held. */
export const named = (p: Plane): string =>
  format(
    p.node.address,
    Object.fromEntries(Object.entries(p.fixed).filter(([axis]) => axis !== "batch")),
  );

export const escaped = (text: string): string =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");

async function planeValues(p: Plane): Promise<number[][]> {
  await fetchWindow(p, 0, p.rows, 0, p.columns);
  return Array.from({ length: p.rows }, (_, r) =>
    Array.from({ length: p.columns }, (_, c) => valueAt(p, r, c) ?? NaN),
  );
}
