"""The rules of the house that no linter knows, each a pure function from a module to complaints.

A rule is given a parsed module and answers with one sentence per offence, or with an empty list.
The bounds are those of the house style: bodies of 60 lines, modules of 500 (statements of SQL
take more room: 700), five positional parameters and eight keyword-only ones. Rules read source
text only; they never import what they judge.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]

MODULE_LINES = 500
SQL_MODULE_LINES = 700
BODY_LINES = 60
POSITIONAL = 5
KEYWORD_ONLY = 8
DOCSTRING_LINES = range(3, 61)

VAGUE_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}

# Put together from halves, so that this file keeps its own rule.
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot)/")
REGISTRY_HOST = re.compile(
    "|".join(
        re.escape(name + "." + rest)
        for name, rest in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("crates", "io"),
            ("golang", "org"),
            ("maven", "org"),
            ("debian", "org"),
        )
    )
)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One Python file: its path from the root of the tree, with slashes, and its text."""

    path: PurePosixPath
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def functions(self) -> list[FunctionNode]:
        return [n for n in ast.walk(self.tree) if isinstance(n, FunctionNode)]

    @property
    def is_face(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def bears_sql(self) -> bool:
        """Engines of stores may; the contract and the model of `stores/` may not."""
        inside = self.path.parts[3:] if self.path.parts[:3] == ("src", "duly", "stores") else ()
        return bool(inside) and inside[0].removesuffix(".py") not in {"__init__", "base", "memory"}


def read_modules(*folders: str) -> list[Module]:
    """Every Python file under `folders`, in order of path."""
    paths = sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))
    return [
        Module(PurePosixPath(p.relative_to(ROOT).as_posix()), p.read_text("utf-8")) for p in paths
    ]


# --- shape --------------------------------------------------------------------------------


def module_size(module: Module) -> list[str]:
    """A module fits in a reader's head."""
    bound = SQL_MODULE_LINES if module.bears_sql else MODULE_LINES
    lines = len(module.text.splitlines())
    if lines <= bound:
        return []
    return [f"{module.path}: expected at most {bound} lines, got {lines}"]


def body_size(module: Module) -> list[str]:
    """A function fits on a screen; its docstring and signature are not counted."""
    found = []
    for function in module.functions:
        statements = function.body[ast.get_docstring(function) is not None :]
        if not statements:
            continue
        lines = (function.end_lineno or 0) - statements[0].lineno + 1
        if lines > BODY_LINES:
            found.append(
                f"{module.path}:{function.lineno}: expected the body of {function.name} to have "
                f"at most {BODY_LINES} lines, got {lines}"
            )
    return found


def parameters(module: Module) -> list[str]:
    """A call can be read without its signature; `self` and `cls` are not counted."""
    found = []
    for function in module.functions:
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args)]
        positional = len(names) - (names[:1] in (["self"], ["cls"]))
        for kind, count, bound in (
            ("positional", positional, POSITIONAL),
            ("keyword-only", len(given.kwonlyargs), KEYWORD_ONLY),
        ):
            if count > bound:
                found.append(
                    f"{module.path}:{function.lineno}: expected {function.name} to take at most "
                    f"{bound} {kind} parameters, got {count}"
                )
    return found


def opening_docstring(module: Module) -> list[str]:
    """A module opens by saying what it is, what it guarantees, what it never does."""
    said = ast.get_docstring(module.tree) or ""
    lines = len(said.splitlines())
    fewest = 1 if module.is_face else DOCSTRING_LINES.start
    if fewest <= lines < DOCSTRING_LINES.stop:
        return []
    return [
        f"{module.path}: expected a docstring of {fewest} to {DOCSTRING_LINES.stop - 1} lines, "
        f"got {lines}"
    ]


def telling_name(module: Module) -> list[str]:
    """A name says which question the module or folder answers."""
    parts = [PurePosixPath(p).stem.strip("_") for p in module.path.parts]
    return [f"{module.path}: {p!r} says nothing" for p in parts if p in VAGUE_NAMES]


def plain_face(module: Module) -> list[str]:
    """An `__init__` holds imports, `__all__`, `__version__` and a lazy `__getattr__` only."""
    if not module.is_face:
        return []
    statements = module.tree.body[ast.get_docstring(module.tree) is not None :]
    return [
        f"{module.path}:{s.lineno}: expected a face to hold imports and its `__all__` only"
        for s in statements
        if not _belongs_in_face(s)
    ]


def _belongs_in_face(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name.startswith("_")
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=[]):
            return all(_belongs_in_face(s) for s in body)
        case ast.FunctionDef(name=name):
            return name in {"__getattr__", "__dir__"}
    return False


# --- words --------------------------------------------------------------------------------


def words(path: str, text: str) -> list[str]:
    """No unfinished work, no path of one machine, no host of a package registry."""
    kinds = (
        ("unfinished work", UNFINISHED),
        ("a path of one machine", MACHINE_PATH),
        ("the host of a package registry", REGISTRY_HOST),
    )
    return [
        f"{path}:{number}: {kind}: {hit.group()!r}"
        for number, line in enumerate(text.splitlines(), 1)
        for kind, pattern in kinds
        if (hit := pattern.search(line))
    ]


# --- tests --------------------------------------------------------------------------------


def no_sleep(module: Module) -> list[str]:
    """A test turns the clock or awaits an event; `sleep(0)` only lets others run."""
    return [
        f"{module.path}:{call.lineno}: expected an event or a turned clock, got a sleep"
        for call in _calls(module.tree)
        if _called(call) == "sleep" and not (_is_zero(call) or _is_durable(call))
    ]


def _is_durable(call: ast.Call) -> bool:
    """Whether it is a task's own `ctx.sleep`, which waits by the clock that tests turn."""
    of = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(of, ast.Name) and of.id == "ctx"


CHECKING = (
    "agree",
    "assert",
    "check",
    "expect",
    "fail",
    "must",
    "prove",
    "raises",
    "refuse",
    "run_state_machine",
    "verify",
)


def asserts_something(module: Module) -> list[str]:
    """A test states what holds: by `assert`, by `raises`, or through a named check."""
    return [
        f"{module.path}:{function.lineno}: {function.name} asserts nothing"
        for function in module.functions
        if function.name.startswith("test_")
        and not any(isinstance(n, ast.Assert) for n in ast.walk(function))
        and not any(_called(c).lstrip("_").startswith(CHECKING) for c in _calls(function))
    ]


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (n for n in ast.walk(node) if isinstance(n, ast.Call))


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_zero(call: ast.Call) -> bool:
    return [getattr(a, "value", None) for a in call.args] == [0]


SOURCE_RULES: tuple[Callable[[Module], list[str]], ...] = (
    module_size,
    body_size,
    parameters,
    opening_docstring,
    telling_name,
    plain_face,
)
TEST_RULES: tuple[Callable[[Module], list[str]], ...] = (no_sleep, asserts_something, telling_name)
