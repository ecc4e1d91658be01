/** A number that is opened glides out of its cell to where it is explained; with reduced motion it is just there. */
const still = matchMedia("(prefers-reduced-motion: reduce)");
const MOTION = { duration: 320, easing: "cubic-bezier(0.3, 0, 0.1, 1)" };

export function glide(to: HTMLElement): void {
  const cell = document.querySelector(".addressed");
  if (!cell || still.matches) return;
  const [from, end] = [cell, to].map((box) => box.getBoundingClientRect());
  const ghost = document.createElement("span");
  ghost.className = "gliding digits";
  ghost.ariaHidden = "true";
  ghost.textContent = to.textContent;
  Object.assign(ghost.style, { left: `${end.x}px`, top: `${end.y}px` });
  document.body.append(ghost);
  const begin = `translate(${from.x - end.x}px, ${from.y - end.y}px) scale(${from.width / end.width})`;
  ghost.animate({ transform: [begin, "none"], opacity: [0.3, 1] }, MOTION).onfinish = () =>
    ghost.remove();
  to.animate({ opacity: [0, 0, 1] }, MOTION);
}
