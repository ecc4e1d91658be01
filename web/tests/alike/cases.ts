/** What Python wrote for the tests of this folder: see tests/page/test_typescript.py. */
import { readFileSync } from "node:fs";

export function cases<Cases>(): Cases {
  const path = process.env.GLASSFORMER_CASES;
  if (!path) throw new Error("Python makes the cases: python -m pytest tests/page");
  return JSON.parse(readFileSync(path, "utf8")) as Cases;
}
