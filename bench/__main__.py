"""Run the benchmarks named on the command line, or all of them, and print one table."""

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType

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
    parser.add_argument("--text", type=Path, help="a text in place of Storyland's, for some")
    parser.add_argument(
        "--threads", type=_positive, help="of PyTorch; as many as it takes if not given"
    )
    chosen = parser.parse_args(arguments)
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    unknown = sorted(set(chosen.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; known: {', '.join(known)}")
    names = sorted(chosen.names or known)
    if chosen.text is not None:
        textless = [name for name in names if not _takes_text(name)]
        if textless:
            parser.error(f"--text: {textless[0]} takes no text; leave {textless[0]} or --text out")
        if not chosen.text.is_file():
            parser.error(f"--text: there is no file {chosen.text}; give a text")
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()), end="\n\n")
    print(HEADER)
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        module = _module(name)
        print(f"\n{name}: {(module.__doc__ or '').partition(chr(10))[0]}")
        rows = []
        options = {} if chosen.text is None else {"text": chosen.text}
        for row in module.run(chosen.seconds, **options):
            print(row, flush=True)
            rows.append(row.to_dict())
        result = {"machine": {**machine(), "load before": where["load"]}, "rows": rows}
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"bench.bench_{name}")


def _takes_text(name: str) -> bool:
    return "text" in inspect.signature(_module(name).run).parameters


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of threads; give 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
