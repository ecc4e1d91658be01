/** Which names fit on a map: the first ones in order, each only where nothing is written yet. */
interface Label {
  id: number;
  x: number;
  y: number;
  text: string;
}

const [LETTER, LINE] = [7.4, 14]; // px

export function placed(
  candidates: Iterable<Label>,
  width: number,
  height: number,
  most = 260,
): Label[] {
  const kept: (Label & { end: number })[] = [];
  for (const label of candidates) {
    if (kept.length >= most) break;
    const end = label.x + 6 + [...label.text].length * LETTER;
    const inside = label.x >= 0 && end <= width + 4 && label.y >= LINE / 2 && label.y <= height;
    if (!inside) continue;
    const free = kept.every(
      (other) => end < other.x || other.end < label.x || Math.abs(label.y - other.y) >= LINE,
    );
    if (free) kept.push({ ...label, end });
  }
  return kept;
}
