"""Every kind of incident that the code opens is in the table for people, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "incidents.md"
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| (\w+) \|", re.MULTILINE)
KIND = re.compile(r"[a-z_]+\.[a-z_]+")


def opened() -> Iterator[tuple[str, str]]:
    """Yield (kind, module) for what modules that make incidents call by a constant, or in place."""
    trees = {path: ast.parse(path.read_text()) for path in ROOT.glob("src/duly/**/*.py")}
    for path, tree in trees.items():
        if path.match("stores/*/*.py") or not any(map(_makes, ast.walk(tree))):
            continue
        for node in ast.walk(tree):
            for one in _named(node):
                if KIND.fullmatch(one):
                    yield one, path.name


def _makes(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Incident"


def _named(node: ast.AST) -> Iterator[str]:
    """The texts of a module's constants, and of `kind=` where an incident is made."""
    if isinstance(node, ast.Assign):
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        yield from (str(v.value) for v in values if isinstance(v, ast.Constant))
    if isinstance(node, ast.Call) and _makes(node):
        values = [word.value for word in node.keywords if word.arg == "kind"]
        yield from (str(v.value) for v in values if isinstance(v, ast.Constant))


def constants(*modules: str) -> set[str]:
    """Kinds that are named in a module and opened by another."""
    found = set()
    for module in modules:
        text = (ROOT / "src" / "duly" / module).read_text()
        found |= set(re.findall(r'^[A-Z_]+ = "([a-z]+\.[a-z]+)"$', text, re.MULTILINE))
        found |= set(re.findall(r'"(expect\.[a-z]+)"', text))
    return found


def test_every_kind_that_is_opened_is_told_of() -> None:
    told = dict(ROW.findall(PAGE.read_text()))
    named = constants("core/effects.py", "core/breakers.py", "core/expect.py", "core/notices.py")
    found = {kind for kind, _ in opened()} | named
    assert sorted(found) == sorted(told), "opened in the code, and told of in the table"
    assert set(told.values()) <= {"info", "warning", "critical"}
