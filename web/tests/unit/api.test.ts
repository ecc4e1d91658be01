import { expect, test } from "vitest";
import { addressOf, type Asked } from "../../src/api";

test("a path is filled in, whatever its names hold", () => {
  const path = { trace: "a/b" };
  const query = { address: "fwd/embed[pos=0]", rows: 3 };
  expect(addressOf("/api/runs", {})).toBe("/api/runs");
  expect(addressOf("/api/traces/{trace}/picture", { path, query })).toBe(
    "/api/traces/a%2Fb/picture?address=fwd%2Fembed%5Bpos%3D0%5D&rows=3",
  );
});

test("a question that the API does not know is an error of the type checker", () => {
  const good: Asked<"get", "/api/traces/{trace}/counts"> = {
    path: { trace: "t" },
    query: { address: "fwd/embed" },
  };
  // @ts-expect-error there is no such path
  const unknown: Asked<"get", "/api/trace/{trace}/counts"> = good;
  // @ts-expect-error a biography is asked for with POST
  const method: Asked<"get", "/api/biography"> = good;
  // @ts-expect-error the address is missing
  const missing: Asked<"get", "/api/traces/{trace}/counts"> = { path: { trace: "t" } };
  // @ts-expect-error a token is a number
  const token: Asked<"post", "/api/neighbors"> = { body: { run: "r", token: "cat" } };
  expect([unknown, method, missing, token]).toContain(good);
});
