"""Write the description of the server's API, from which the page's types are made, to web/.

python scripts/api.py            write web/openapi.json
python scripts/api.py --check    say whether it is what the server says of itself
"""

import json
import sys
from pathlib import Path

from pydantic.json_schema import models_json_schema

from glassformer.server import schemas
from glassformer.server.app import create_app
from glassformer.server.runs import Runs

PAGE = (
    "PageData",
    "PackedTrace",
    "PackedModel",
    "PackedSnapshots",
    "PackedReading",
    "PackedSeedling",
    "Opening",
)
"""What a page's own file holds beside the server's answers."""

FILE = Path(__file__).resolve().parent.parent / "web" / "openapi.json"


def description() -> str:
    """The API as OpenAPI, and a page's data; without what changes no type: release, refusals."""
    api = create_app(Runs([])).openapi()
    api["info"]["version"] = "any"
    for path in api["paths"].values():
        for operation in path.values():
            answers = operation["responses"].items()
            operation["responses"] = {code: answer for code, answer in answers if code < "300"}
    components = "#/components/schemas/{model}"
    _, page = models_json_schema([(schemas.PageData, "serialization")], ref_template=components)
    api["components"]["schemas"] |= {name: page["$defs"][name] for name in PAGE}
    return json.dumps(api, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check; return the exit status."""
    if arguments != ["--check"]:
        FILE.write_text(description(), encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != description():
        print(f"{FILE} is not what the server says of itself; run python {sys.argv[0]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
