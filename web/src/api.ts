/** The server's API as its own description types it: what each path takes and answers. */
import type { paths } from "../generated/schema";

export type * from "../generated/schema";

type Method = "get" | "post";

/** The paths that have a method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends { [m in M]: object } ? P : never;
}[keyof paths];

type Part<Operation, Where extends "path" | "query"> = Operation extends {
  parameters: { [where in Where]: infer Fields };
}
  ? { [where in Where]: Fields }
  : unknown;

type Body<Operation> = Operation extends {
  requestBody: { content: { "application/json": infer Json } };
}
  ? { body: Json }
  : unknown;

/** What a path is asked with: the names in it, its query, its body. */
export type Asked<M extends Method, P extends PathOf<M>> = Part<paths[P][M], "path"> &
  Part<paths[P][M], "query"> &
  Body<paths[P][M]>;

/** The JSON that a path answers with. */
export type Answer<M extends Method, P extends PathOf<M>> = paths[P][M] extends {
  responses: { 200: { content: { "application/json": infer Json } } };
}
  ? Json
  : never;

type Fields = Record<string, string | number>;

/** What of a question stands in its address. */
export interface Where {
  path?: Fields;
  query?: Fields;
}

/** The address of a path with its names and its query filled in. */
export function addressOf(path: string, { path: names = {}, query = {} }: Where): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(String(names[name])));
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]) => [name, String(value)]),
  );
  return search.size ? `${filled}?${search}` : filled;
}
