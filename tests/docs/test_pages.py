"""Every page of documentation is true: its code runs, its links lead, its drawings hold.

A snippet with `file=NAME` is written under that name and run; others must at least be Python
whose imports exist. Pages that are made from code must be fresh.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*.md")])
CODE = re.compile(r"```python(?: file=(?P<file>\S+))?\n(?P<code>.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#]+)(?:#[^)]*)?\)")


def snippets() -> Iterator[tuple[str, str, str]]:
    """Yield page, file name (or empty) and code of each Python block."""
    for page in PAGES:
        for found in CODE.finditer(page.read_text()):
            yield page.name, found["file"] or "", found["code"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize(
    ("page", "name", "code"),
    list(snippets()),
    ids=lambda value: value if len(value) < 30 else value[:20].replace("\n", " "),
)
def test_a_snippet_is_python_that_imports_what_exists(page: str, name: str, code: str) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    for node in ast.walk(compile(code, page, "exec", flags)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("duly"):
            module = __import__(node.module or "", fromlist=[one.name for one in node.names])
            missing = [one.name for one in node.names if not hasattr(module, one.name)]
            assert missing == [], f"{page} imports {missing} from {node.module}"


def test_the_tutorials_files_run_together(tmp_path: Path) -> None:
    for page, name, code in snippets():
        if page == "tutorial.md" and name:
            (tmp_path / name).write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto",
         "test_shop.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readmes_apps_load(tmp_path: Path) -> None:
    codes = [code for page, _, code in snippets() if page == "README.md" and "Duly(" in code]
    assert len(codes) >= 2
    for number, code in enumerate(codes):
        path = tmp_path / f"readme_{number}.py"
        path.write_text(code)
        show = "import importlib; m = importlib.import_module(%r); print(sorted(m.app.tasks))"
        done = subprocess.run(
            [sys.executable, "-c", show % path.stem],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tool", ["draw_states.py", "gen_reference.py"])
def test_generated_pages_are_fresh(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / tool, "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
