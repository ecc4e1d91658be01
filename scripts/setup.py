"""Make .venv and install Glassformer into it; quick when nothing has changed.

    python3 scripts/setup.py            what a user needs (make demo)
    python3 scripts/setup.py dev        and what a developer needs (make test, make check, ...)

Needs only the standard library, and runs on Pythons too old for Glassformer to say so clearly.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

OLDEST_PYTHON = (3, 11)
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def fingerprint(root):
    """Hash what decides the contents of .venv: its place, the requirements and the pins."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def read_stamp(stamp):
    """Return the fingerprint and the extras of the last completed set-up, or None."""
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


def missing_extras(stamp_content, wanted_fingerprint, extras):
    """Return the extras to install (a list, perhaps empty), or None when all is in place."""
    if stamp_content is None:
        return sorted(extras)
    installed = set(stamp_content["extras"])
    if stamp_content["fingerprint"] == wanted_fingerprint and set(extras) <= installed:
        return None
    return sorted(installed | set(extras))


def torch_attempts(constraints_text, system, has_gpu):
    """Return the pip arguments to try, in order, until one of them installs torch.

    A bare `pip install torch` pulls several gigabytes of CUDA packages on Linux.
    """
    pin = next(line for line in constraints_text.splitlines() if line.startswith("torch=="))
    attempts = [["--no-index", "--no-deps", pin]]  # what the machine's pip configuration offers
    if system == "Linux" and not has_gpu:
        attempts.append(["--no-deps", "--retries", "1", "--index-url", TORCH_CPU_INDEX, pin])
    attempts.append([pin])
    return attempts


def install_torch(python, root):
    has_torch = [str(python), "-c", "import importlib.metadata as m; print(m.version('torch'))"]
    result = subprocess.run(has_torch, capture_output=True, text=True, check=False)
    constraints = (root / "constraints.txt").read_text()
    if result.returncode == 0 and f"torch=={result.stdout.strip().split('+')[0]}\n" in constraints:
        return
    attempts = torch_attempts(
        constraints, platform.system(), has_gpu=shutil.which("nvidia-smi") is not None
    )
    complaints = []
    for arguments in attempts:
        command = [str(python), "-m", "pip", "install", "-qq", *arguments]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode == 0:
            return
        complaints += outcome.stderr.strip().splitlines()[-1:]
    raise SetupError(f"torch could not be installed; pip said: {'; '.join(complaints)}")


def make_venv(folder):
    python = folder / "bin" / "python"
    if python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError as problem:
        raise SetupError(
            "Python's venv has no pip to install; on Debian: apt install python3-venv"
        ) from problem
    return python


def set_up(root, extras):
    """Bring root/.venv to the state that pyproject.toml and constraints.txt describe."""
    folder = root / ".venv"
    stamp = folder / "glassformer-setup.json"
    wanted = fingerprint(root)
    python = folder / "bin" / "python"
    to_install = missing_extras(read_stamp(stamp) if python.exists() else None, wanted, extras)
    if to_install is None:
        return
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            f"this is Python {platform.python_version()}, Glassformer needs 3.11 or newer; "
            "try: make PYTHON=python3.12"
        )
    print("Setting up .venv (about a minute the first time) ...", file=sys.stderr, flush=True)
    python = make_venv(folder)
    install_torch(python, root)
    project = f".[{','.join(to_install)}]" if to_install else "."
    install = [str(python), "-m", "pip", "install", "-qq", "-e", project]
    done = subprocess.run([*install, "-c", "constraints.txt"], cwd=root, check=False)
    if done.returncode != 0:
        raise SetupError("pip could not install the packages; its message stands above")
    stamp.write_text(json.dumps({"fingerprint": wanted, "extras": to_install}) + "\n")


if __name__ == "__main__":
    try:
        set_up(Path(__file__).resolve().parent.parent, sys.argv[1:])
    except SetupError as error:
        sys.exit(f"error: {error}")
