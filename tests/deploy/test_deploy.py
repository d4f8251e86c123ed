"""What is shipped under deploy/ is well-formed by each tool's own rules, and true of this code.

Manifests are validated by the published schemas, the unit by systemd itself, the job by a parser
of its language. Beyond the form: commands exist, settings are settings, probes are asked where they
listen, and whoever ends a worker leaves it the time it was promised.
"""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from duly import Duly
from duly.cli.command import cli
from duly.cli.working import PATIENCE_S
from duly.config.rooms import SPECS
from duly.core.durations import parse_duration
from duly.core.fleet import Health
from duly.core.restarts import LONGEST_LAST_PAUSE
from duly.server.probes import Probes

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent
KUBERNETES = sorted(DEPLOY.glob("kubernetes/*.yaml"))
COMPOSE, JOB = DEPLOY / "compose/compose.yaml", DEPLOY / "nomad/shop-worker.nomad.hcl"
UNIT, DOCKERFILE = DEPLOY / "systemd/duly-worker.service", DEPLOY / "Dockerfile"

CHECKED = {*KUBERNETES, COMPOSE, JOB, UNIT, DOCKERFILE, DEPLOY / "systemd/shop.env"}
CHECKED |= {DEPLOY / "compose/shop.py", DEPLOY / "Dockerfile.dockerignore"}


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def documents(path: Path) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="the validators are in locks/dev.txt")
    return [one for one in yaml.safe_load_all(text_of(path)) if one]


def seconds(text: str) -> float:
    return parse_duration(text, what="a length in deploy/").total_seconds()


def test_nothing_is_shipped_that_nobody_checks() -> None:
    files = {one for one in DEPLOY.rglob("*") if one.is_file() and "__pycache__" not in one.parts}
    assert files == CHECKED


# --- form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda one: one.name)
def test_manifests_pass_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="it is in locks/dev.txt").validate
    found = documents(path)
    assert found
    for one in found:
        validate(one, version, strict=True)


def test_compose_passes_its_specification() -> None:
    pytest.importorskip("check_jsonschema", reason="it is in locks/dev.txt")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec",
         str(COMPOSE)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("there is no systemd-analyze on this machine")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", text_of(UNIT)))
    done = subprocess.run(
        [tool, "verify", "--man=no", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    mine = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (mine, done.returncode) == ([], 0), done.stderr


def job() -> dict[str, Any]:
    """The job, its blocks as mappings, its texts without their quotes."""
    hcl2 = pytest.importorskip("hcl2", reason="it is in locks/dev.txt")
    return plain(hcl2.loads(text_of(JOB)))


def plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {unquoted(k): plain(one) for k, one in node.items() if not k.startswith("__")}
    if isinstance(node, list):
        block = len(node) == 1 and isinstance(node[0], dict)
        return plain(node[0]) if block else [*map(plain, node)]
    return unquoted(node)


def unquoted(value: Any) -> Any:
    return value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value


NOMAD = {
    "": "type group",
    "group": "count network restart reschedule update service task",
    "restart": "attempts interval delay mode",
    "reschedule": "delay delay_function max_delay unlimited",
    "update": "max_parallel health_check min_healthy_time healthy_deadline auto_revert",
    "service": "name port provider check",
    "check": "name type path interval timeout check_restart",
    "check_restart": "limit grace",
    "task": "driver kill_signal kill_timeout config env template resources",
    "template": "destination data change_mode",
    "resources": "cpu memory",
}
"""The blocks of a job that are used, and the words that may stand in them."""


def test_the_job_is_hcl_whose_words_nomad_knows() -> None:
    worker = job()["job"]["shop-worker"]
    group = worker["group"]["worker"]
    task = group["task"]["worker"]
    blocks = {"": worker, "group": group, "task": task} | {
        name: one[name]
        for one in (group, group["service"], group["service"]["check"], task)
        for name in NOMAD
        if name in one and name != "task"
    }
    assert set(blocks) == set(NOMAD)
    for name, block in blocks.items():
        assert set(block) == set(NOMAD[name].split()), name


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", text_of(DOCKERFILE))
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    parted = (line.partition(" ") for line in lines)
    return [(word, " ".join(rest.split())) for word, _, rest in parted]


def test_the_image_is_built_from_what_there_is_and_runs_as_nobody_special() -> None:
    found = instructions()
    assert {word for word, _ in found} <= set(
        "FROM WORKDIR COPY RUN USER ENV STOPSIGNAL ENTRYPOINT CMD".split()
    )
    copied = [rest.split()[:-1] for word, rest in found if word == "COPY" and "--from" not in rest]
    ignored = text_of(DEPLOY / "Dockerfile.dockerignore").split()
    for source in (one for words in copied for one in words):
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
    last = dict(found)
    assert json.loads(last["ENTRYPOINT"]) == ["duly"], "no shell between the signal and the worker"
    assert last["USER"].isdecimal() and last["USER"] != "0"
    hadolint = shutil.which("hadolint")
    if hadolint is not None:
        done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()


# --- truth ----------------------------------------------------------------------------------------


def commands() -> Iterator[list[str]]:
    """What the files let `duly` do."""
    for path in KUBERNETES:
        for one in documents(path):
            for container in containers(one):
                if "command" not in container:
                    yield container["args"]
    for service in documents(COMPOSE)[0]["services"].values():
        if service["image"] == "duly":
            yield service["command"]
    yield job()["job"]["shop-worker"]["group"]["worker"]["task"]["worker"]["config"]["args"]
    yield re.findall(r"^ExecStart=\S+/duly (.*)$", text_of(UNIT), re.M)[0].split()


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["spec"].get("template", {}).get("spec", {}).get("containers", [])


def test_every_command_is_one_of_the_command_line() -> None:
    found = list(commands())
    assert len(found) >= 6
    for words in found:
        command: Any = cli
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        # As `duly` calls it: what a command is asked first decides what its help is called.
        above = click.Context(cli, info_name="duly", **cli.context_settings)
        context = command.make_context("duly", list(words), parent=above, resilient_parsing=True)
        assert context.params


def test_every_variable_is_a_setting() -> None:
    known = {f"DULY_{one.short.upper()}" for one in SPECS.values()}
    known |= {f"{one}_FILE" for one in known}
    for path in CHECKED:
        for name in re.findall(r"\bDULY_[A-Z_]+\b", text_of(path)):
            assert name in known, f"{path.name}: {name}"


def test_probes_are_asked_for_where_they_answer() -> None:
    probes = Probes(lambda: Health(True, True))
    asked = re.findall(r"(?:path: |path +=  *\"|8301)(/[a-z]+)", "".join(map(text_of, CHECKED)))
    assert {"/livez", "/readyz"} == set(asked)
    assert all(probes.page(path)[0] == 200 for path in asked)
    for path in KUBERNETES:
        for container in (one for document in documents(path) for one in containers(document)):
            given = {one["name"]: one.get("value") for one in container["env"]}
            ports = {one["name"]: one["containerPort"] for one in container.get("ports", [])}
            for probe in (one for name, one in container.items() if name.endswith("Probe")):
                assert ports[probe["httpGet"]["port"]] == int(given["DULY_PROBES"])
                assert given["DULY_PROBES_HOST"] == "0.0.0.0", "the kubelet asks from outside"


def graces() -> Iterator[tuple[str, float, float]]:
    """Where, how long a worker is left to end, and its `stop_grace`."""
    for path in KUBERNETES:
        for one in documents(path):
            for container in containers(one):
                given = {env["name"]: env.get("value") for env in container["env"]}
                if "DULY_STOP_GRACE" in given:
                    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
                    left = one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                    left -= before.get("seconds", 0)
                    yield path.name, left, seconds(given["DULY_STOP_GRACE"])
    worker = documents(COMPOSE)[0]["services"]["worker"]
    asked = worker["environment"]["DULY_STOP_GRACE"]
    yield COMPOSE.name, seconds(worker["stop_grace_period"]), seconds(asked)
    task = job()["job"]["shop-worker"]["group"]["worker"]["task"]["worker"]
    yield JOB.name, seconds(task["kill_timeout"]), seconds(task["env"]["DULY_STOP_GRACE"])


def test_whoever_ends_a_worker_leaves_it_its_grace() -> None:
    found = list(graces())
    assert len(found) >= 4
    for where, left, grace in found:
        assert left >= grace + PATIENCE_S, where


def test_systemd_leaves_a_trip_its_last_pause_and_never_uses_up_its_starts() -> None:
    unit = dict(line.split("=", 1) for line in text_of(UNIT).splitlines() if "=" in line[1:])
    grace = seconds(re.findall("DULY_STOP_GRACE=(.*)", text_of(DEPLOY / "systemd/shop.env"))[0])
    needed = grace + PATIENCE_S + LONGEST_LAST_PAUSE.total_seconds()
    assert float(unit["TimeoutStopSec"]) >= needed
    assert (unit["Type"], unit["Restart"], unit["StartLimitIntervalSec"]) == (
        "notify",
        "always",
        "0",
    )
    assert "70" not in unit["RestartPreventExitStatus"].split()


def test_nomad_never_leaves_a_job_dead_when_its_attempts_are_used_up() -> None:
    group = job()["job"]["shop-worker"]["group"]["worker"]
    assert group["restart"]["mode"] == "fail"
    assert group["reschedule"]["unlimited"] is True


def test_the_composed_application_loads() -> None:
    app = runpy.run_path(str(DEPLOY / "compose/shop.py"))["app"]
    assert isinstance(app, Duly)
    assert (list(app.tasks), list(app.supervised)) == (["tidy"], ["watch_orders"])
