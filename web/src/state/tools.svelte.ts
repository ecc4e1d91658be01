/** Whether the controls of those who know their way are out: address, run, ids. */

const KEY = "glassformer-tools";

class Tools {
  open = $state(read());

  flip(): void {
    this.open = !this.open;
    try {
      localStorage.setItem(KEY, this.open ? "open" : "");
    } catch {
      // they stay as they are until the page is closed
    }
  }
}

/** localStorage is refused inside a notebook's frame. */
function read(): boolean {
  try {
    return localStorage.getItem(KEY) === "open";
  } catch {
    return false;
  }
}

export const tools = new Tools();
