"""Run by the kernels of the pages: a `%%bash` whose output comes whole and without color codes.

IPython's own prints what a command writes in pieces as they come, and a page then breaks its lines
wherever a piece ended.
"""

import os
import subprocess

from IPython.core.getipython import get_ipython
from IPython.core.magic import register_cell_magic

os.environ.pop("FORCE_COLOR", None)  # a page is no terminal


@register_cell_magic
def bash(line: str, cell: str) -> None:
    """Run a script and print what it wrote, or keep it: `--out NAME`; a failing one fails."""
    run = subprocess.run(["bash", "-c", cell], stdout=-1, stderr=subprocess.STDOUT, text=True)
    if line.startswith("--out "):
        get_ipython().user_ns[line.removeprefix("--out ").strip()] = run.stdout
    else:
        print(run.stdout, end="")
    if run.returncode:
        raise RuntimeError(f"exit code {run.returncode}: {run.stdout}")
