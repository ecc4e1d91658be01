/** Keeps a select at a value, also when its options change. */
export const selected = (value: unknown) => (box: HTMLSelectElement) => {
  const choose = () => (box.value = String(value));
  choose();
  const watcher = new MutationObserver(choose);
  watcher.observe(box, { childList: true, subtree: true, attributeFilter: ["value"] });
  return () => watcher.disconnect();
};
