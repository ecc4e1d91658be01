/** A trace that Python has saved. */
import { readFileSync } from "node:fs";
import { Trace } from "../../src/trace/trace";

export function opened(folder: string): Trace {
  const table = JSON.parse(readFileSync(`${folder}/trace.json`, "utf8"));
  const file = readFileSync(`${folder}/${table.values}`);
  const bytes = async (begin: number, end: number) =>
    new Uint8Array(file.subarray(begin, end)).buffer;
  return new Trace(table, { bytes });
}
