"""Settings from everywhere: what cannot be right is refused, in a line for each fault.

Drawn are flags, the environment, files of TOML and of any bytes, and URLs of stores. No refusal
tells a password, and none is longer than a person reads, whatever was given.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.config import load_settings, mask_url, parse_store_url
from duly.config.rooms import ROOMS, SHORT, SPECS
from duly.errors import ConfigError
from tests.fuzz.hostile import ANY_TEXT, ANYTHING, TEXT, answered
from tests.stores.profiles import cases

PASSWORD = "Hunter2-Geheim"
SCHEMES = st.sampled_from(
    ["sqlite", "postgresql", "postgres", "memory", "mysql", "sqlit", "SQLITE", ""]
)
PLACES = st.sampled_from(
    [
        "h/d",
        "/h/d",
        "h:5432/d",
        "h:x/d",
        "[::1]/d",
        "[::1/d",
        "a:1,b:2/d",
        "h/d?a=b",
        "/a.db",
        "h/d#x",
    ]
)
URLS = st.builds("{}://{}{}".format, SCHEMES, ANY_TEXT, PLACES) | TEXT
SECRETS = st.sampled_from(
    [
        "postgresql://me:{}@h/d",
        "postgresql://me:x@{}@h/d",
        "postgresql://:{}@/",
        "postgresql://h/d?password={}",
        "postgresql://h/d?a=b&sslpassword={}",
        "postgresql://h/d??token={}&x",
        "sqlite://me:{}@h",
        "mysql://me:{}@h/d",
        "postgresql://me:{}@h:x/d",
        "postgresql://me:{}@[::1/d",
        "{}",
    ]
)


@given(URLS)
@cases(120)
def test_a_store_url_is_understood_or_refused(url: str) -> None:
    read = answered(parse_store_url, url, kinds=(ConfigError,))
    if read is not None:
        assert read.url == url
        assert len(mask_url(read.shown)) <= len(read.shown) + len("***")
        assert mask_url(mask_url(url)) == mask_url(url)


@given(SECRETS, ANY_TEXT, st.booleans())
@cases(120)
def test_no_refusal_tells_the_password(shape: str, more: str, before: bool) -> None:
    password = more + PASSWORD if before else PASSWORD + more
    url = shape.format(password)
    read = answered(parse_store_url, url, kinds=(ConfigError,), secret=PASSWORD)
    if "&" not in more and "#" not in more:
        assert read is None or PASSWORD not in repr(read)


@pytest.mark.parametrize("piece", ["?token", "&token", "?", "password", "@:", ":@", "://"])
def test_masking_costs_no_more_than_its_text_is_long(piece: str) -> None:
    """A text of many beginnings is read once: twice the text takes few more steps, not four times.

    The steps of the engine of regular expressions cannot be counted, but a pattern that tried
    every beginning against every end would not come back from this within the test's time.
    """
    text = "postgresql://h/d" + piece * (400_000 // len(piece))
    assert mask_url(mask_url(text)) == mask_url(text)


NAMES = st.sampled_from([*SPECS, *SHORT, *ROOMS, "lese", "engine.lese"]) | ANY_TEXT


@given(st.dictionaries(NAMES, ANYTHING, max_size=4))
@cases(80)
def test_flags_are_read_or_refused(flags: dict[str, Any]) -> None:
    def load() -> Any:
        return load_settings(flags=flags, env={}, files=[], cwd=Path("/nowhere"))

    loaded = answered(load, kinds=(ConfigError,), lines=8)
    if loaded is not None:
        again = load_settings(flags={}, env={}, files=[], cwd=Path("/nowhere"))
        assert loaded.describe().keys() == again.describe().keys()


ENV_NAMES = st.sampled_from(
    [spec.env for spec in SPECS.values()] + [spec.long_env for spec in SPECS.values()]
)
FOREIGN = st.sampled_from(["DULY_SERVICE_HOST", "DULY_PORT", "DULY_TEST_X", "DULY_CONFIG", "PATH"])


@given(
    st.dictionaries(
        ENV_NAMES | FOREIGN | ENV_NAMES.map("{}_FILE".format) | TEXT.map("DULY_{}".format),
        TEXT | st.sampled_from(["1", "true", "5s", "tcp://x", "/etc", "0", "json"]),
        max_size=4,
    )
)
@cases(80)
def test_the_environment_is_read_or_refused(env: dict[str, str]) -> None:
    def load() -> Any:
        return load_settings(flags={}, env=env, files=None, cwd=Path("/nowhere"))

    loaded = answered(load, kinds=(ConfigError,), lines=8)
    assert loaded is None or set(loaded.origins) == set(SPECS)


TOML_VALUES = st.sampled_from(
    ["1", '"5s"', "true", "[]", "{}", "1979-05-27", "inf", "-nan", "0x" + "f" * 5_000, "9" * 5_000,
     "[" * 3_000 + "]" * 3_000, '["a", "a"]', '""', "'''\n'''", '"\\u0000"', "{a={b={c=1}}}"]
)  # fmt: skip
TOML_KEYS = NAMES.map(lambda name: name if re.fullmatch(r"[a-z_.]+", name) else _quoted(name))
LINES = st.builds("{} = {}".format, TOML_KEYS, TOML_VALUES) | st.sampled_from(
    ["[engine]", "[tool.duly]", "[[engine]]", "engine = 1", "\ufeff", "# x", "\r"]
)
DOCUMENTS = st.lists(LINES, max_size=5).map(
    lambda lines: "\n".join(lines).encode("utf-8", "replace")
)


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0xD800 else "x" for c in text) + '"'


@given(DOCUMENTS | st.binary(max_size=60), st.sampled_from(["duly.toml", "pyproject.toml"]))
@cases(80)
def test_a_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, document: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(document)

    def load() -> Any:
        return load_settings(flags={}, env={}, files=[path], cwd=path.parent)

    loaded = answered(load, kinds=(ConfigError,), lines=8)
    assert loaded is None or set(loaded.origins) == set(SPECS)


WRITABLE = {
    name: spec for name, spec in SPECS.items() if isinstance(spec.default, str | int | tuple)
}


@given(st.sampled_from(sorted(WRITABLE)))
@cases(60)
def test_a_default_that_is_shown_is_read_back(name: str) -> None:
    spec = SPECS[name]
    if not spec.secret:
        shown = spec.shown(spec.default)
        assert spec.read(shown, name) == spec.default
