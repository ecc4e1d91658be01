/** A number that is opened glides out of its cell to where it is explained, and back when it is closed; with reduced motion it is just there. */
import { leaving } from "../state/zoom";
import { still } from "../state/motion";

const MOTION = { duration: 320, easing: "cubic-bezier(0.3, 0, 0.1, 1)" };

export function glide(shown: HTMLElement): () => void {
  let box: DOMRect | null = null;
  const measure = () => (box = shown.getBoundingClientRect());
  // in a frame of its own: to measure before all is drawn costs a layout more
  const frame = requestAnimationFrame(() => {
    const cell = document.querySelector(".addressed");
    const to = measure();
    if (!cell || still.matches) return;
    fly(shown.textContent, cell.getBoundingClientRect(), to, to);
    shown.animate({ opacity: [0, 0, 1] }, MOTION);
  });
  const { address } = shown.closest<HTMLElement>("[data-address]")!.dataset;
  leaving.add(measure);
  return () => {
    leaving.delete(measure);
    cancelAnimationFrame(frame);
    const [text, from] = [shown.textContent, box];
    if (!from) return;
    // the matrix has its new width, and its cells their places in it, two frames later
    requestAnimationFrame(() => requestAnimationFrame(() => back(text, from, address!)));
  };
}

function back(text: string, from: DOMRect, address: string): void {
  const cell = document.querySelector(`[data-cell="${address}"]`);
  if (!cell || still.matches || document.querySelector(".docked")) return;
  fly(text, from, cell.getBoundingClientRect(), from);
}

/** A copy of a number, written as large as in `full`, flies from one place to another. */
function fly(text: string, from: DOMRect, to: DOMRect, full: DOMRect): void {
  const ghost = document.createElement("span");
  ghost.className = "gliding digits";
  ghost.ariaHidden = "true";
  ghost.textContent = text;
  document.body.append(ghost);
  const at = (box: DOMRect) => `translate(${box.x}px, ${box.y}px) scale(${box.width / full.width})`;
  const faint = (box: DOMRect) => (box === full ? 1 : 0.3);
  ghost.animate(
    { transform: [at(from), at(to)], opacity: [faint(from), faint(to)] },
    MOTION,
  ).onfinish = () => ghost.remove();
}
