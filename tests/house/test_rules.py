"""The tree keeps the rules of the house, and every rule bites.

The first half holds each rule against the whole tree and shows all offences at once. The second
half feeds each rule one specimen that must be refused and one that must pass: a rule that cannot
fail would guard nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

from tests.house import rules
from tests.house.rules import ROOT, Module

Rule = Callable[[Module], list[str]]


@cache
def source() -> list[Module]:
    return rules.read_modules("src", "tools")


@cache
def trials() -> list[Module]:
    return rules.read_modules("tests")


def check(rule: Rule, modules: list[Module]) -> None:
    """Fail with every offence of `modules` against `rule`, one a line."""
    found = [line for module in modules for line in rule(module)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize("rule", rules.SOURCE_RULES, ids=lambda r: r.__name__)
def test_source_keeps(rule: Rule) -> None:
    assert source(), "expected modules under src/"
    check(rule, source())


@pytest.mark.parametrize("rule", rules.TEST_RULES, ids=lambda r: r.__name__)
def test_tests_keep(rule: Rule) -> None:
    check(rule, trials())


def test_every_folder_of_source_has_a_face() -> None:
    folders = {p.parent for p in (ROOT / "src" / "duly").rglob("*.py")}
    bare = [f.relative_to(ROOT) for f in sorted(folders) if not (f / "__init__.py").exists()]
    assert [str(f) for f in bare] == []


def test_no_file_names_a_machine_a_registry_or_unfinished_work() -> None:
    found = [line for path, text in texts() for line in rules.words(path, text)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def texts() -> Iterator[tuple[str, str]]:
    """Each text file that is, or would be, committed."""
    for path in committed():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT).as_posix(), content.decode("utf-8", "replace")


def committed() -> list[Path]:
    """What git tracks or would add; outside a checkout, the folders that hold code."""
    if shutil.which("git") and (ROOT / ".git").exists():
        # A checkout may belong to another user than the one who runs the tests.
        git = ["git", "-c", "safe.directory=*"]
        command = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        names = sorted({n for n in listed.decode().split("\0") if n})
        return [p for n in names if (p := ROOT / n).is_file()]
    return [p for folder in ("src", "tests") for p in (ROOT / folder).rglob("*.py")]


# --- every rule bites ---------------------------------------------------------------------

DOC = '"""One.\n\nTwo.\n"""\n'
AT = "src/duly/core/thing.py"
FACE = "src/duly/core/__init__.py"
SQL = "src/duly/stores/sqlite/claims.py"
TEST = "tests/test_thing.py"
FIVE, SIX = "a, b, c, d, e", "a, b, c, d, e, f"
EIGHT = ", ".join("abcdefgh")

# rule, path, a text it refuses, a text it lets pass
SPECIMENS: list[tuple[Rule, str, str, str]] = [
    (rules.module_size, AT, "x = 1\n" * 501, "x = 1\n" * 500),
    (rules.module_size, SQL, "x = 1\n" * 701, "x = 1\n" * 700),
    (rules.module_size, "src/duly/stores/memory.py", "x = 1\n" * 501, "x = 1\n" * 500),
    (rules.module_size, "src/duly/stores/memory/runs.py", "x = 1\n" * 501, "x = 1\n" * 500),
    (rules.body_size, AT, "def f():\n" + "    x = 1\n" * 61, "def f():\n" + "    x = 1\n" * 60),
    (
        rules.body_size,
        AT,
        'async def f():\n    """Doc."""\n' + "    x = 1\n" * 61,
        'def f():\n    """' + "Doc.\n" * 70 + '    """\n' + "    x = 1\n" * 60,
    ),
    (rules.parameters, AT, f"def f({SIX}): ...", f"def f({FIVE}): ..."),
    (rules.parameters, AT, f"class A:\n def f(self, {SIX}): ...", f"def f(self, {FIVE}): ..."),
    (rules.parameters, AT, f"def f(*, {EIGHT}, i): ...", f"def f({FIVE[:4]}, *, {EIGHT}): ..."),
    (rules.opening_docstring, AT, "x = 1", DOC),
    (rules.opening_docstring, AT, '"""One line."""', DOC),
    (rules.opening_docstring, AT, '"""' + "Line.\n" * 61 + '"""', '"""' + "Line.\n" * 60 + '"""'),
    (rules.opening_docstring, FACE, "x = 1", '"""The face."""'),
    (rules.plain_face, FACE, f"{DOC}def f(): ...", f"{DOC}from a import b\n__all__ = ['b']"),
    (rules.plain_face, FACE, f"{DOC}limit = 3", f"{DOC}def __getattr__(name): ..."),
    (
        rules.plain_face,
        FACE,
        f"{DOC}if TYPE_CHECKING:\n    f()",
        f"{DOC}if TYPE_CHECKING:\n    import a",
    ),
    (rules.no_sleep, TEST, "import time\ntime.sleep(1)", "await asyncio.sleep(0)"),
    (rules.no_sleep, TEST, "await asyncio.sleep(9)", "await ctx.sleep('nap', '1h')"),
    (rules.no_sleep, TEST, "from asyncio import sleep\nawait sleep(x)", "clock.turn(1)"),
    (rules.asserts_something, TEST, "def test_a(): f()", "def test_a(): assert f()"),
    (rules.asserts_something, TEST, "async def test_a(): await f()", "def test_a(): check(1)"),
    (rules.asserts_something, TEST, "def test_a(): fail", "def test_a(): pytest.raises(E, f)"),
]


@pytest.mark.parametrize(
    ("rule", "path", "refused", "passes"),
    SPECIMENS,
    ids=[f"{rule.__name__}-{n}" for n, (rule, *_) in enumerate(SPECIMENS)],
)
def test_rule_bites(rule: Rule, path: str, refused: str, passes: str) -> None:
    at = PurePosixPath(path)
    assert len(rule(Module(at, refused))) == 1
    assert rule(Module(at, passes)) == []


@pytest.mark.parametrize("name", ["utils.py", "helpers/clock.py", "_common.py", "manager.py"])
def test_a_name_that_says_nothing_is_refused(name: str) -> None:
    assert len(rules.telling_name(Module(PurePosixPath("src/duly") / name, ""))) == 1


@pytest.mark.parametrize(
    ("text", "offends"),
    [
        ("# TO" + "DO: later", True),
        ("# FIX" + "ME", True),
        ("open('/wo" + "rk/main/x')", True),
        ("see /ro" + "ot/.cache", True),
        ("https://files.python" + "hosted.org/x.whl", True),
        ("index-url = https://py" + "pi.org/simple", True),
        ("a framework/rooted way", False),
        ("GET /api/v1/work/1", False),
        ("mastodon", False),
    ],
)
def test_words(text: str, offends: bool) -> None:
    assert bool(rules.words("x", text)) is offends
