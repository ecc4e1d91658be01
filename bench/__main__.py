"""Run the benchmarks named on the command line, or all of them, and print one table."""

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path

import torch

from bench.measure import HEADER, machine
from glassformer.memory import use_huge_pages

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SECONDS = 40.0


def main(arguments: list[str]) -> int:
    use_huge_pages()  # as the command line does, for us and for every peer
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(known)}")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="how long to measure, for each name"
    )
    parser.add_argument("--text", type=Path, help="for quality: a text in place of Storyland's")
    parser.add_argument("--threads", type=int, help="of PyTorch; as many as it takes if not given")
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    unknown = sorted(set(chosen.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; known: {', '.join(known)}")
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()), end="\n\n")
    print(HEADER)
    RESULTS.mkdir(exist_ok=True)
    for name in sorted(chosen.names or known):
        module = importlib.import_module(f"bench.bench_{name}")
        print(f"\n{name}: {(module.__doc__ or '').partition(chr(10))[0]}")
        rows = []
        takes_text = "text" in inspect.signature(module.run).parameters
        options = {"text": chosen.text} if takes_text else {}
        for row in module.run(chosen.seconds, **options):
            print(row, flush=True)
            rows.append(row.to_dict())
        result = {"machine": {**machine(), "load before": where["load"]}, "rows": rows}
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
