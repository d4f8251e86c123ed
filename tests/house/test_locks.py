"""The locks are what is installed: they cover pyproject.toml, by hash, from no named place.

`locks/runtime.txt` is what a worker needs; `locks/dev.txt` adds every extra and the tools. A
dependency that was added without `make lock`, a pin outside the declared bounds, an entry without
a hash, or a registry's address is an error here rather than on somebody's machine.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house.rules import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CORE: list[str] = PROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
DEV: list[str] = PROJECT["dependency-groups"]["dev"]
BUILD: list[str] = PROJECT["build-system"]["requires"]

ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?P<rest>(?:.*\\\n)*.*)$", re.M)


def lock(name: str) -> str:
    return (ROOT / "locks" / name).read_text("utf-8")


def pins(name: str) -> dict[str, Version]:
    return {canonicalize_name(m["name"]): Version(m["version"]) for m in ENTRY.finditer(lock(name))}


def everything() -> Iterable[str]:
    return [*CORE, *DEV, *BUILD, *(r for named in EXTRAS.values() for r in named)]


@pytest.mark.parametrize(
    ("name", "declared"), [("runtime.txt", CORE), ("dev.txt", everything())], ids=["runtime", "dev"]
)
def test_lock_pins_every_declared_dependency_within_its_bounds(
    name: str, declared: Iterable[str]
) -> None:
    locked = pins(name)
    for requirement in map(Requirement, declared):
        if requirement.name == "duly":
            continue
        pinned = locked.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} is not in locks/{name}: run `make lock`"
        assert pinned in requirement.specifier, f"{requirement} is locked at {pinned}"


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt"])
def test_every_pin_has_hashes(name: str) -> None:
    bare = [m["name"] for m in ENTRY.finditer(lock(name)) if "--hash=sha256:" not in m["rest"]]
    assert bare == []


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt"])
def test_lock_names_no_place(name: str) -> None:
    text = lock(name)
    assert [w for w in ("://", "--index-url", "--find-links") if w in text] == []


def test_both_locks_agree() -> None:
    runtime, dev = pins("runtime.txt"), pins("dev.txt")
    assert {n: v for n, v in runtime.items() if dev.get(n) != v} == {}


def test_the_all_extra_holds_every_other_extra() -> None:
    (bundle,) = map(Requirement, EXTRAS["all"])
    assert bundle.extras == EXTRAS.keys() - {"all"}


def test_a_worker_installs_little() -> None:
    assert {Requirement(r).name for r in CORE} == {"apsw", "click", "msgspec", "rich", "tzdata"}
