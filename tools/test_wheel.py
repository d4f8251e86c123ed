"""Try the built wheel as a stranger would: in a clean environment, with nothing but the lock.

Given the path of a wheel, it makes a virtual environment in a temporary folder, installs the
locked run-time dependencies by hash and the wheel, and checks from outside the source tree that
`duly` comes from site-packages, that its types are shipped, that the command answers, and that
`tests/wheel/smoke.py` passes where there is one. It leaves nothing behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMOKE = ROOT / "tests" / "wheel" / "smoke.py"

IMPORT = """
import sys
from importlib.metadata import version
from pathlib import Path
import duly
home = Path(duly.__file__).resolve().parent
source, prefix = Path(sys.argv[1]), Path(sys.prefix).resolve()
assert home.is_relative_to(prefix), f"duly came from {home}, expected it under {prefix}"
assert not any(Path(p).resolve().is_relative_to(source) for p in sys.path if p), sys.path
assert (home / "py.typed").is_file(), "the wheel ships no py.typed"
assert version("duly") == duly.__version__, (version("duly"), duly.__version__)
print("duly", duly.__version__, "imported from site-packages")
"""


def run(command: list[str], cwd: Path) -> str:
    """Run one command away from the source tree; on failure show all it said and stop."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        command, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        shown = " ".join(command[:4])
        sys.exit(f"wheel: {shown} ... ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def try_wheel(wheel: Path, place: Path) -> None:
    """Install `wheel` into a new environment under `place` and run every check against it."""
    home = place / "venv"
    venv.create(home, with_pip=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", str(ROOT / "locks" / "runtime.txt")], place)
    run([*pip, "--no-deps", "--no-index", str(wheel)], place)
    run([python, "-m", "pip", "check"], place)
    print(run([python, "-c", IMPORT, str(ROOT)], place))
    print(run([str(scripts / "duly"), "--version"], place))
    if SMOKE.exists():
        print(run([python, str(SMOKE)], place))


def main() -> None:
    """Check the one wheel that the command line names."""
    if len(sys.argv) != 2:
        sys.exit(f"expected the path of one wheel, got {sys.argv[1:]}")
    with tempfile.TemporaryDirectory(prefix="duly-wheel-") as place:
        try_wheel(Path(sys.argv[1]).resolve(), Path(place).resolve())
    print("wheel: every check passed")


if __name__ == "__main__":
    main()
