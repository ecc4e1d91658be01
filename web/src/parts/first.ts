/** A card comes before the pictures beside it: what they ask for and their painting would hold it up. */
let card: Promise<unknown> = Promise.resolve();

/** Let the pictures wait for what a card waits for. */
export function cardFirst<T>(explained: Promise<T>): Promise<T> {
  card = explained.catch(() => {});
  return explained;
}

/** When the card that is being explained is there, if one is. */
export async function afterCard(): Promise<void> {
  await null; // effects of one change run one after the other, the card's perhaps later
  await card;
}

/** Paint in the next frame, after the card, once however often it is asked; returns what calls it off. */
export function inNextFrame(paint: () => void): () => void {
  let [current, frame] = [true, 0];
  void afterCard().then(() => {
    if (current) frame = requestAnimationFrame(paint);
  });
  return () => {
    current = false;
    cancelAnimationFrame(frame);
  };
}
