/** Hand over what a promise brings, unless an effect has asked for something else by then; the page itself tells, once, of numbers that could not be read. */
export function latest<T>(
  promise: Promise<T>,
  take: (result: T) => void,
  fail: (error: Error) => void = () => {},
): () => void {
  let current = true;
  promise.then(
    (result) => current && take(result),
    (error: Error) => current && fail(error),
  );
  return () => (current = false);
}
