/** What the page says when the worker that runs a model has ended. */
import { expect, test, vi } from "vitest";
import type { PackedModel } from "../../src/api";
import { Engine } from "../../src/engine/client";

const workers = vi.hoisted(() => [] as EventTarget[]);

vi.mock("../../src/engine/worker?worker&inline", () => ({
  default: class extends EventTarget {
    constructor() {
      super();
      workers.push(this);
    }
    postMessage() {}
  },
}));

test("a worker that is lost leaves no question open", async () => {
  const engine = new Engine({} as PackedModel, 8);
  const answer = engine.tokenize("the cat");
  workers[0].dispatchEvent(Object.assign(new Event("error"), { message: "out of memory" }));
  await expect(answer).rejects.toThrow("has stopped (out of memory). Reload the page.");
});
