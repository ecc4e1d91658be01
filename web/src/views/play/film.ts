/** One picture of the walk at one time: the scene, or two on their way past each other, and the spine. */
import { dot, ease, line, span, stageOf, type Pen } from "./pen";
import { sceneAt, startOf, type Scene } from "./scenes";

const SLIDE = 1.1; // seconds in which the picture moves down to another panel
const REST = 1.3; // seconds at the end of a scene in which nothing moves

export function drawFilm(pen: Pen, scenes: Scene[], time: number): void {
  const { i, into } = sceneAt(scenes, time);
  const scene = scenes[i];
  const { context, width, height, palette } = pen;
  context.fillStyle = palette.color("ground");
  context.fillRect(0, 0, width, height);
  spine(pen, scenes, time);
  const moves = i > 0 && scene.panel !== scenes[i - 1].panel;
  const begin = moves ? SLIDE : 0.2;
  if (moves && into < SLIDE) {
    const gone = ease(into / SLIDE);
    moved(pen, -gone * height, () => scenes[i - 1].draw(pen, 1));
    moved(pen, (1 - gone) * height, () => scene.draw(pen, 0));
  } else scene.draw(pen, span(into, begin, scene.seconds - REST));
}

/** The time at which a scene's last picture stands. */
export const stillAt = (scenes: Scene[], i: number): number =>
  startOf(scenes, i) + scenes[i].seconds - REST / 2;

/** The last picture of a scene. */
export const drawStill = (pen: Pen, scenes: Scene[], i: number): void =>
  drawFilm(pen, scenes, stillAt(scenes, i));

function moved(pen: Pen, y: number, draw: () => void): void {
  pen.context.save();
  pen.context.translate(0, y);
  draw();
  pen.context.restore();
}

/** The way down through the model, with a mark for every scene and a dot where the walk is. */
function spine(pen: Pen, scenes: Scene[], time: number): void {
  const { spine: x } = stageOf(pen);
  const total = startOf(scenes, scenes.length);
  const [top, bottom] = [16, pen.height - 16];
  const y = (at: number) => top + ((bottom - top) * at) / total;
  line(
    pen,
    [
      [x, top],
      [x, bottom],
    ],
    { color: "line", width: 4 },
  );
  line(
    pen,
    [
      [x, top],
      [x, y(time)],
    ],
    { width: 4, alpha: 0.85 },
  );
  scenes.forEach((_, i) => {
    const at = startOf(scenes, i);
    dot(pen, x, y(at), 3, at <= time ? "accent" : "line-strong");
  });
  dot(pen, x, y(time), 7);
}
