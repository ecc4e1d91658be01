// The built page goes into the Python package, which serves and exports it.
import { copyFileSync } from "node:fs";

copyFileSync("dist/index.html", "../src/glassformer/server/page.html");
