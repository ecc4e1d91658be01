/** The source that the page's own data block names. */
import type { Opening } from "./api";
import { FileSource } from "./file";
import { ServerSource } from "./served";
import type { Source } from "./source";

export function findSource(): Source & { first?: Opening } {
  const data = JSON.parse(document.getElementById("glassformer-data")?.textContent ?? "{}");
  return data.server ? new ServerSource() : new FileSource(data);
}
