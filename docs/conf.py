"""How Sphinx builds the documentation: every example is run, and a broken one fails the build."""

import importlib.metadata
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

# The kernels that run the examples inherit these; a page shows no color codes and has its width.
os.environ.update(COLUMNS="84", OMP_NUM_THREADS="1", NO_COLOR="1", HF_HUB_OFFLINE="1")
root = str(Path(__file__).parent.parent)  # one page has figures of the benchmarks
os.environ["PYTHONPATH"] = os.pathsep.join(
    [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
)
startup = Path(tempfile.mkdtemp()) / "profile_default" / "startup"
startup.mkdir(parents=True)
shutil.copy(Path(__file__).parent / "_ext" / "kernel_startup.py", startup)
# a kernel of this machine's own, whose user its warning about eavesdropping would only alarm
(startup.parent / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
os.environ["IPYTHONDIR"] = str(startup.parents[1])
logging.getLogger("traitlets").setLevel(logging.WARNING)  # Sphinx says which page it is at

project = "Glassformer"
author = "Glassformer contributors"
copyright = "2026, Glassformer contributors"  # noqa: A001 (Sphinx wants this name)
release = importlib.metadata.version("glassformer")

# The page itself, beside the documentation: a static host is all that a class needs.
html_extra_path = [tempfile.mkdtemp()]
gallery = Path(html_extra_path[0], "gallery", "glassformer.html")
subprocess.run(
    [sys.executable, "-m", "glassformer", "page", "--out", gallery],
    cwd=Path(__file__).parent.parent,  # where `make demo` leaves its run
    check=True,
)

extensions = ["myst_nb", "sphinx.ext.autodoc", "mathml", "reference", "lessons"]
exclude_patterns = ["_build", "_ext", "jupyter_execute", ".jupyter_cache"]
html_theme = "furo"
highlight_language = "text"  # Sphinx would take commands for Python
smartquotes_action = "qe"  # quotes and ellipses; -- begins an option
html_static_path = ["_static", "assets"]
html_css_files = ["pages.css"]
html_title = f"Glassformer {release}"
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"  # a cache would not notice that the package has changed
nb_execution_in_temp = True  # what an example writes is not left among the pages
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_timeout = 300  # seconds for one cell

autodoc_typehints = "description"
autodoc_member_order = "bysource"
