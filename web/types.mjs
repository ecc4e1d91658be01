// The page's types of what it asks its server for, from the server's own description.
import { mkdirSync, writeFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";

const nodes = await openapiTS(new URL("openapi.json", import.meta.url), {
  rootTypes: true,
  rootTypesNoSchemaPrefix: true,
  defaultNonNullable: false, // a field with a default may be left out of a request
  silent: true,
});
mkdirSync("generated", { recursive: true });
writeFileSync("generated/schema.ts", astToString(nodes));
