"""A real RabbitMQ for tests and examples: a node of its own, on loopback, thrown away afterwards.

Guarantees: the node has its own name, ports, port mapper, cookie, data and log folders; it listens
on 127.0.0.1 alone, is ended by its own pid, and never outlives its `with`. The package is
installed if it is missing and this is root on a Debian-like system; else the reason is raised
as `RabbitMissing`. Never touches a broker it did not start.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CONTROL = SCRIPT.with_name("rabbitmqctl")
STARTED = "completed with"
START_S = 90.0
STOP_S = 30.0

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users.guest = true
log.console = false
log.file.level = error
vm_memory_high_watermark.absolute = 512MiB
disk_free_limit.absolute = 10MB
"""


class RabbitMissing(Exception):
    """There is no broker to start here; the text says why."""


class RabbitServer:
    """One node. `url` reaches it; data outlive `stop` and `start`, not the `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._dist_port, self._mapper_port = _free_ports(3)
        self._mapper: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        (folder / "rabbitmq.conf").write_text(CONFIG.format(port=self.port), "utf-8")
        (folder / "plugins").write_text("[].\n", "utf-8")

    @property
    def url(self) -> str:
        return self.url_as("guest", "guest")

    def url_as(self, user: str, password: str) -> str:
        """The broker's address for another user."""
        return f"amqp://{user}:{password}@{HOST}:{self.port}/"

    @property
    def pid(self) -> int:
        """The node's process id; raises when it is stopped."""
        assert self._node is not None, "the broker is stopped"
        return self._node.pid

    @property
    def stopped(self) -> bool:
        """Whether the node was stopped or killed, and not started since."""
        return self._node is None

    def start(self) -> None:
        """Start the node and wait until it says that it is ready."""
        assert self._node is None, "the broker runs already"
        if self._mapper is None:
            self._mapper = self._spawn("epmd", "-port", str(self._mapper_port), "-address", HOST)
        self._node = self._spawn(str(SCRIPT))
        ready, said = threading.Event(), list[str]()
        threading.Thread(target=_listen, args=(self._node, ready, said), daemon=True).start()
        ready.wait(START_S)
        if not said or STARTED not in said[-1]:
            self.stop()
            raise RuntimeError(f"the broker did not start: {''.join(said)[-2000:]}")

    def write_down(self) -> None:
        """Have the node put what was declared so far on disk.

        RabbitMQ 3 answers a declaration before its log of declarations is written, up to two
        seconds later: a crash in between loses the queue, with what was confirmed into it.
        """
        line = [str(CONTROL), "eval", "mnesia:sync_log()."]
        subprocess.run(line, env=self._environment(), check=True, timeout=STOP_S, cwd=self.folder)

    def stop(self) -> None:
        """End the node and keep its data; what was confirmed is there after `start`."""
        node, self._node = self._node, None
        if node is not None:
            _end(node, signal.SIGTERM)

    def kill(self) -> None:
        """End the node as a crash does."""
        node, self._node = self._node, None
        if node is not None:
            _end(node, signal.SIGKILL)

    def remove(self) -> None:
        """End everything that was started, and remove the data."""
        self.stop()
        if self._mapper is not None:
            _end(self._mapper, signal.SIGKILL)
            self._mapper = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self, *line: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            line,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if line[0] == str(SCRIPT) else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": folder,  # where Erlang keeps its cookie
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the node, so that its pid is ours
            "RABBITMQ_NODENAME": f"duly{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{folder}/flags",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput +S 2:2 +A 16 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }


@contextmanager
def rabbit_server() -> Iterator[RabbitServer]:
    """Start a broker; raises `RabbitMissing` where there is none and none can be installed."""
    _ensure_installed()
    server = RabbitServer(Path(tempfile.mkdtemp(prefix="duly-rabbit-")))
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _ensure_installed() -> None:
    if SCRIPT.exists():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RabbitMissing("rabbitmq-server is not installed, and only root can install it")
    line = ["apt-get", "install", "-y", "--no-install-recommends", "rabbitmq-server"]
    # Level 1 tells the package's scripts not to start a service.
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0 or not SCRIPT.exists():
        raise RabbitMissing(f"rabbitmq-server could not be installed: {done.stderr[-300:]}")


def _listen(node: subprocess.Popen[bytes], ready: threading.Event, said: list[str]) -> None:
    """Hear the node out to its end, so that it never waits for a full pipe."""
    assert node.stdout is not None
    for line in node.stdout:
        if not ready.is_set():
            said.append(line.decode("utf-8", "replace"))
        if STARTED.encode() in line:
            ready.set()
    ready.set()


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signal the session that the process leads: the node and its helpers, nobody else."""
    with suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
