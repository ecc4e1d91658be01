/** From the text to the stream: tokens, their ids, and the rows of the table that these name. */
import {
  between,
  chip,
  ease,
  font,
  glide,
  inset,
  line,
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
import type { Reading } from "./walk";

/** Where the tokens stand when they are a sentence, in as many lines as it takes. */
function sentence(pen: Pen, read: Reading): { boxes: Box[]; size: number; end: Box } {
  const { narrow, right } = stageOf(pen);
  const left = narrow ? 32 : 90;
  for (let size = narrow ? 24 : 40; ; size -= 2) {
    font(pen, { size, weight: 600 });
    const [gap, high] = [size * 0.28, size * 1.5];
    const lines: Box[][] = [[]];
    let x = left;
    const widths = [...read.words.map(({ text }) => pen.context.measureText(text).width), size * 2];
    for (const width of widths) {
      if (x + width > right && lines.at(-1)!.length) {
        lines.push([]);
        x = left;
      }
      lines.at(-1)!.push({ x, y: 0, width, height: high });
      x += width + gap;
    }
    if (size > 14 && lines.length * high > pen.height * 0.7) continue;
    const top = (pen.height - lines.length * high) / 2;
    const widest = Math.max(...lines.map((one) => one.at(-1)!.x + one.at(-1)!.width)) - left;
    const shift = (right - left - widest) / 2;
    const boxes = lines.flatMap((one, i) =>
      one.map((box) => ({ ...box, x: box.x + shift, y: top + i * high })),
    );
    return { boxes: boxes.slice(0, -1), size, end: boxes.at(-1)! };
  }
}

function blank(pen: Pen, box: Box, alpha: number): void {
  const { context, palette } = pen;
  context.globalAlpha = alpha;
  context.strokeStyle = palette.color("probability");
  context.setLineDash([5, 5]);
  context.lineWidth = 2;
  context.beginPath();
  context.roundRect(box.x, box.y + 4, box.width, box.height - 8, 9);
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  text(pen, "?", x, y, { size: 20, weight: 700, color: "probability", align: "center", alpha });
}

export function drawText(pen: Pen, read: Reading, t: number): void {
  const { boxes, size, end } = sentence(pen, read);
  const top = boxes[0].y;
  if (read.hidden)
    text(pen, hiddenIn(read), pen.width / 2, top - 24, {
      color: "quiet",
      align: "center",
    });
  boxes.forEach((box, i) => {
    const alpha = glide(turn(t, i, boxes.length + 2, 3), 0, 1);
    const y = box.y + box.height / 2 + (1 - alpha) * 8;
    text(pen, read.words[i].text, box.x, y, { size, weight: 600, alpha });
  });
  if (read.asks) blank(pen, end, glide(t, 0.6, 0.8));
}

const hiddenIn = ({ hidden, asks }: Reading): string =>
  asks ? `after ${hidden} earlier tokens:` : `with ${hidden} more tokens around:`;

/** The width of the words' boxes, and where the numbers begin beside them. */
function columns(pen: Pen, read: Reading) {
  const stage = stageOf(pen);
  const n = read.words.length;
  const high = rowBox(stage, 0, n, 0).height;
  const size = Math.min(stage.narrow ? 15 : 18, high * 0.6);
  const chips = wordRoom(pen, read.words, size);
  const digits = { mono: true, size: Math.min(14, size) };
  font(pen, digits);
  const longest = Math.max(
    ...read.words.map(({ id }) => pen.context.measureText(String(id)).width),
  );
  const from = stage.left + chips + longest + (stage.narrow ? 14 : 38);
  const available = stage.right - from;
  const table = stage.narrow ? available * 0.36 : Math.min(available * 0.3, 260);
  const gap = stage.narrow ? 18 : 90;
  const strip = Math.min(available - table - gap, 560);
  return {
    stage,
    n,
    size,
    chips,
    digits,
    // where they end: a gap to the words before them, another to the numbers behind
    ids: longest + (stage.narrow ? 8 : 18),
    from,
    strip,
    table: { x: stage.right - table, width: table },
  };
}

export function drawTokens(pen: Pen, read: Reading, t: number): void {
  const { boxes, size: large, end } = sentence(pen, read);
  const { stage, n, size, chips, digits, ids } = columns(pen, read);
  if (read.asks) blank(pen, end, 1 - glide(t, 0.05, 0.2));
  boxes.forEach((box, i) => {
    const cutUp = glide(t, 0.05, 0.3);
    const fly = glide(turn(t, i, n, 4), 0.25, 1);
    const around = { ...box, x: box.x - 9 * cutUp, width: box.width + 18 * cutUp };
    const at = between(around, rowBox(stage, i, n, chips), fly);
    const marked = i === read.at;
    chip(pen, read.words[i].text, at, { marked, alpha: cutUp, size: mixed(large, size, fly) });
    const center = [at.x + at.width / 2, at.y + at.height / 2] as const;
    if (cutUp < 1)
      text(pen, read.words[i].text, ...center, {
        size: large,
        weight: 600,
        align: "center",
        alpha: 1 - cutUp,
      });
    text(pen, String(read.words[i].id), at.x + at.width + ids, center[1], {
      ...digits,
      color: "quiet",
      align: "right",
      alpha: glide(t, 0.75, 0.95),
    });
  });
}

export function drawTable(pen: Pen, read: Reading, t: number): void {
  const { stage, n, size, chips, digits, ids, from, strip, table } = columns(pen, read);
  const { context, palette } = pen;
  const high = stage.bottom - stage.top;
  const box: Box = { x: table.x, y: stage.top, width: table.width, height: high };
  numbers(pen, read.table.strip, box, { alpha: glide(t, 0, 0.12) * 0.85 });
  text(pen, stage.narrow ? "table" : "the embedding table", box.x, box.y - 14, {
    size: 12,
    color: "quiet",
    alpha: glide(t, 0, 0.12),
  });
  const walking = span(t, 0.1, 0.9);
  read.words.forEach(({ id, text: word }, i) => {
    const row = rowBox(stage, i, n, chips);
    chip(pen, word, row, { marked: i === read.at, size });
    const middle = row.y + row.height / 2;
    const look = { ...digits, color: "quiet", align: "right" } as const;
    text(pen, String(id), row.x + chips + ids, middle, look);
    const mine = turn(walking, i, n, 2);
    if (mine <= 0) return;
    const line0 = box.y + ((id + 0.5) / read.table.rows) * high;
    const source: Box = { x: box.x, y: line0 - 2, width: box.width, height: 4 };
    const target = inset({ ...row, x: from, width: strip });
    const [ask, fly] = [glide(mine, 0, 0.35), ease(Math.max((mine - 0.35) / 0.65, 0))];
    const fading = 1 - glide(mine, 0.75, 1) * 0.75;
    line(
      pen,
      [
        [from - 6, middle],
        [box.x - 4, line0],
      ],
      { width: 1, alpha: 0.5 * fading * (1 - fly), upTo: ask },
    );
    context.strokeStyle = palette.color("ink");
    context.globalAlpha = ask * fading;
    context.lineWidth = 1.5;
    context.strokeRect(source.x - 2, source.y - 1, source.width + 4, source.height + 2);
    context.globalAlpha = 1;
    if (fly > 0) numbers(pen, read.embedded, between(source, target, fly), { row: i });
  });
}

/** The numbers of each position are added to those of its token. */
export function drawPositions(pen: Pen, read: Reading, t: number): void {
  drawTable(pen, read, 1);
  const { n, from, strip } = columns(pen, read);
  read.words.forEach((_, i) => {
    const box = inset({ ...rowBox(stageOf(pen), i, n, strip), x: from });
    numbers(pen, read.placed!, box, { row: i, upTo: turn(span(t, 0.1, 0.9), i, n, 3) });
  });
}
