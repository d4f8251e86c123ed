"""Where settings come from: precedence, names, origins, and what is refused.

Each case is a row: flags, environment and files go in, one value with its origin comes out, or a
fault. Nothing touches the process's own environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from duly.config import EngineSettings, Loaded, Settings, StoreSettings, load_settings
from duly.config.rooms import SHORT, SPECS
from duly.errors import ConfigError, UnknownName

PASSWORD = "hunter2-and-more"
POSTGRES = f"postgresql://duly:{PASSWORD}@127.0.0.1/duly"


@dataclass(frozen=True)
class Given:
    """What the three sources hold; files by their names."""

    flags: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def load(given: Given, folder: Path) -> Loaded:
    for name, text in given.files.items():
        (folder / name).write_text(text, "utf-8")
    return load_settings(flags=given.flags, env=given.env, cwd=folder)


def value(loaded: Loaded, name: str) -> Any:
    room, _, setting = name.partition(".")
    return getattr(getattr(loaded.settings, room), setting)


def check(given: Given, name: str, expected: object, origin: str, folder: Path) -> None:
    loaded = load(given, folder)
    assert value(loaded, name) == expected
    assert loaded.origin(name) == origin


S = timedelta(seconds=1)
TOML = {"duly.toml": 'lease = "21s"'}
SECONDS = {"duly.toml": "stop_grace = 2.5"}
PROJECT = {"pyproject.toml": '[tool.duly.engine]\nlease = "22s"\n[tool.other]\nx = 1'}

FOUND: list[tuple[Given, str, object, str]] = [
    (Given(), "engine.lease", 15 * S, "default"),
    (Given(), "engine.queues", ("default",), "default"),
    (Given(files=PROJECT), "engine.lease", 22 * S, "pyproject.toml [tool.duly] engine.lease"),
    (Given(files=TOML), "engine.lease", 21 * S, "duly.toml lease"),
    (Given(files={**TOML, **PROJECT}), "engine.lease", 21 * S, "duly.toml lease"),
    (Given(env={"DULY_LEASE": "20s"}, files=TOML), "engine.lease", 20 * S, "env DULY_LEASE"),
    (Given(env={"DULY_ENGINE__LEASE": "20s"}), "engine.lease", 20 * S, "env DULY_ENGINE__LEASE"),
    (Given({"lease": "19s"}, {"DULY_LEASE": "20s"}), "engine.lease", 19 * S, "flag --lease"),
    (Given({"engine.lease": 19 * S}), "engine.lease", 19 * S, "flag --engine.lease"),
    (Given({"lease": None}, {"DULY_LEASE": "20s"}), "engine.lease", 20 * S, "env DULY_LEASE"),
    (Given(env={"DULY_LEASE": ""}, files=TOML), "engine.lease", 21 * S, "duly.toml lease"),
    (Given({"stop_grace": 2.5}), "engine.stop_grace", 2.5 * S, "flag --stop-grace"),
    (Given(files=SECONDS), "engine.stop_grace", 2.5 * S, "duly.toml stop_grace"),
    (
        Given(env={"DULY_QUEUES": "default, mailers"}),
        "engine.queues",
        ("default", "mailers"),
        "env DULY_QUEUES",
    ),
    (
        Given(files={"duly.toml": 'queues = ["a", "b"]'}),
        "engine.queues",
        ("a", "b"),
        "duly.toml queues",
    ),
    (Given(env={"DULY_SLOTS": " 7 "}), "engine.slots", 7, "env DULY_SLOTS"),
    (
        Given(env={"DULY_SQLITE_ALLOW_NETWORK_FS": "1"}),
        "store.allow_network_fs",
        True,
        "env DULY_SQLITE_ALLOW_NETWORK_FS",
    ),
    (
        Given(env={"DULY_STORE__ALLOW_NETWORK_FS": "no"}),
        "store.allow_network_fs",
        False,
        "env DULY_STORE__ALLOW_NETWORK_FS",
    ),
    (
        Given(files={"duly.toml": "[store]\nallow_network_fs = true"}),
        "store.allow_network_fs",
        True,
        "duly.toml store.allow_network_fs",
    ),
    (Given(env={"DULY_LOG_LEVEL": "WARNING"}), "log.level", "warning", "env DULY_LOG_LEVEL"),
    (Given(env={"DULY_STORE": POSTGRES}), "store.url", POSTGRES, "env DULY_STORE"),
    (
        Given(files={"duly.toml": 'store = "memory://"'}),
        "store.url",
        "memory://",
        "duly.toml store",
    ),
    (
        Given(files={"duly.toml": '[store]\nurl = "memory://"'}),
        "store.url",
        "memory://",
        "duly.toml store.url",
    ),
    (
        Given(env={"DULY_STORE_FILE": "secret"}, files={"secret": POSTGRES + "\n"}),
        "store.url",
        POSTGRES,
        "env DULY_STORE_FILE",
    ),
    (
        Given(env={"DULY_CONFIG": "other.toml"}, files={**TOML, "other.toml": "slots = 3"}),
        "engine.slots",
        3,
        "other.toml slots",
    ),
    # What belongs to others is passed over, whatever it holds.
    (Given(env={"DULY_TEST_SERVER": "x"}), "engine.slots", 100, "default"),
    (Given(env={"DULY_SERVICE_HOST": "10.0.0.1"}), "engine.slots", 100, "default"),
    (Given(env={"DULY_WEB_SERVICE_PORT_HTTP": "80"}), "engine.slots", 100, "default"),
    (Given(env={"DULY_PORT": "tcp://10.0.0.1:80"}), "engine.slots", 100, "default"),
    (Given(env={"DULY_PORT_80_TCP_ADDR": "10.0.0.1"}), "engine.slots", 100, "default"),
    (Given(env={"DULY_SERVER_PORT": "tcp://10.0.0.1:80"}), "server.port", 8300, "default"),
    (Given(env={"DULY_SERVER_PORT": "80"}), "server.port", 80, "env DULY_SERVER_PORT"),
]


@pytest.mark.parametrize(("given", "name", "expected", "origin"), FOUND)
def test_the_first_source_that_names_a_setting_wins(
    given: Given, name: str, expected: object, origin: str, tmp_path: Path
) -> None:
    check(given, name, expected, origin, tmp_path)


# what is given, and what the message must contain
REFUSED: list[tuple[Given, list[str]]] = [
    (Given({"slot": 1}), ["'slot'", "did you mean 'slots'"]),
    (Given(env={"DULY_SLOT": "1"}), ["'DULY_SLOT'", "did you mean 'DULY_SLOTS'"]),
    (Given(env={"DULY_SLOTS_FILE": "x"}), ["'DULY_SLOTS_FILE'", "did you mean"]),
    (Given(files={"duly.toml": "leese = 1"}), ["duly.toml", "did you mean 'lease'"]),
    (
        Given(files={"duly.toml": "[engine]\nrenewall = 1"}),
        ["'engine.renewall'", "did you mean 'engine.renewal'"],
    ),
    (Given(files={"duly.toml": "[engin]\nslots = 1"}), ["did you mean 'engine'"]),
    (Given(files={"duly.toml": "engine = 3"}), ["'engine'"]),
    (Given(files={"duly.toml": "= 3"}), ["duly.toml", "to be TOML"]),
    (Given(files={"pyproject.toml": "[tool]\nduly = 3"}), ["[tool.duly]", "to be a table"]),
    (Given(env={"DULY_CONFIG": "none.toml"}), ["none.toml", "a readable file"]),
    (Given({"lease": "2 weeks"}), ["engine.lease (flag --lease)", "duration", "'2 weeks'"]),
    (Given(env={"DULY_LEASE": "20"}), ["engine.lease (env DULY_LEASE)", "units w d h m s ms us"]),
    (Given(env={"DULY_SLOTS": "many"}), ["engine.slots (env DULY_SLOTS)", "from 1 to 10000"]),
    (Given(env={"DULY_SLOTS": "0"}), ["from 1 to 10000, got 0"]),
    (Given(files={"duly.toml": "slots = true"}), ["duly.toml slots", "got True"]),
    (Given(files={"duly.toml": "slots = 1.5"}), ["got 1.5"]),
    (Given(env={"DULY_QUEUES": "a,,b"}), ["engine.queues", "distinct names"]),
    (Given(env={"DULY_QUEUES": "a,a"}), ["distinct names"]),
    (Given(files={"duly.toml": "queues = [1]"}), ["distinct names"]),
    (Given(files={"duly.toml": "queues = []"}), ["distinct names"]),
    (Given({"queues": "~suspect"}), ["distinct names"]),
    (Given({"sqlite_allow_network_fs": "perhaps"}), ["true or false", "'perhaps'"]),
    (Given(files={"duly.toml": "sqlite_allow_network_fs = 1"}), ["true or false, got 1"]),
    (Given({"log_format": "xml"}), ["log.format", "one of auto, json, text", "'xml'"]),
    (Given({"server_port": 65_536}), ["server.port", "from 0 to 65535"]),
    (Given({"server_host": ""}), ["server.host"]),
    (Given({"server_host": "a\nb"}), ["server.host", "printable"]),
    (Given({"presence": "31s"}), ["engine.presence", "to 30s, got '31s'"]),
    (Given({"store": "oracle://h/d"}), ["store.url", "'oracle'"]),
    # Two names for one setting in one source: which of them wins would be a guess.
    (
        Given(env={"DULY_LEASE": "20s", "DULY_ENGINE__LEASE": "20s"}),
        ["engine.lease to be set once", "env DULY_LEASE", "env DULY_ENGINE__LEASE"],
    ),
    (
        Given(env={"DULY_STORE": "memory://", "DULY_STORE_FILE": "s"}, files={"s": "memory://"}),
        ["store.url to be set once"],
    ),
    (
        Given(files={"duly.toml": "slots = 1\n[engine]\nslots = 1"}),
        ["engine.slots to be set once"],
    ),
    # Settings that contradict each other.
    (Given({"lease": "13s"}), ["engine.lease", "2 × engine.renewal + engine.margin (13s)", "13s"]),
    (Given({"takeover_grace": "15s"}), ["engine.takeover_grace", "shorter than engine.lease"]),
    (Given({"history": "401d"}), ["engine.key_retention", "engine.history (401d)", "400d"]),
    (Given({"server_token": "short"}), ["server.token", "24 characters"]),
]


@pytest.mark.parametrize(("given", "words"), REFUSED)
def test_what_cannot_be_right_is_refused_with_words(
    given: Given, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(given, tmp_path)
    message = str(refusal.value)
    assert [word for word in words if word not in message] == [], message


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    given = Given({"slot": 1}, {"DULY_LEASE": "x"}, {"duly.toml": "queue = 1"})
    with pytest.raises(ConfigError) as refusal:
        load(given, tmp_path)
    assert len(str(refusal.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"x" * 65_537, "larger than")],
)
def test_a_secret_file_that_cannot_be_read_is_a_fault(
    content: bytes | None, why: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        load(Given(env={"DULY_STORE_FILE": "secret"}), tmp_path)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    token = "a-token://of-many-characters"
    loaded = load(Given(env={"DULY_STORE": POSTGRES, "DULY_SERVER_TOKEN": token}), tmp_path)
    shown = json.dumps(loaded.describe()) + repr(loaded) + str(loaded.settings)
    assert PASSWORD not in shown
    assert token not in shown
    assert loaded.describe()["store.url"]["value"] == "postgresql://duly:***@127.0.0.1/duly"


@pytest.mark.parametrize(
    "env",
    [
        {"DULY_STORE": f"postgrsql://duly:{PASSWORD}@h/d"},
        {"DULY_STORE": f"postgresql://duly:{PASSWORD}@h:port/d"},
        {"DULY_STORE": f"postgresql://duly:{PASSWORD} @h/d"},
        {"DULY_STORE": PASSWORD},
        {"DULY_SERVER_TOKEN": PASSWORD},
        {"DULY_SERVER_TOKEN": PASSWORD + "\x1b"},
    ],
)
def test_no_refusal_shows_a_secret(env: Mapping[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(Given(env=env), tmp_path)
    assert PASSWORD not in str(refusal.value)


def test_describe_tells_every_setting_and_its_origin(tmp_path: Path) -> None:
    told = load(Given({"slots": 5}), tmp_path).describe()
    assert set(told) == set(SPECS)
    assert told["engine.slots"] == {"value": 5, "origin": "flag --slots"}
    assert told["engine.takeover_grace"] == {"value": "250ms", "origin": "default"}


def test_an_unknown_name_has_no_origin(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"engine\.lease"):
        load(Given(), tmp_path).origin("engine.leas")


def test_files_that_are_named_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("slots = 1", "utf-8")
    (tmp_path / "b.toml").write_text("slots = 2\nthreads = 3", "utf-8")
    files = [Path("a.toml"), Path("b.toml")]
    loaded = load_settings(flags={}, env={}, files=files, cwd=tmp_path)
    assert (loaded.settings.engine.slots, loaded.settings.engine.threads) == (1, 3)


def test_a_room_built_by_hand_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"engine\.slots"):
        EngineSettings(slots=0)
    with pytest.raises(ConfigError, match=r"engine\.lease"):
        EngineSettings(lease="15s")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"store\.url"):
        StoreSettings(url="nowhere")


def test_the_defaults_can_run() -> None:
    assert Settings().store.parsed.path == "duly.db"


def test_no_two_settings_share_a_name() -> None:
    assert len(SHORT) == len(SPECS)
    assert len({spec.env for spec in SPECS.values()}) == len(SPECS)
    # A short name that is a room too must be told from its table by its type.
    assert "engine" not in SHORT
