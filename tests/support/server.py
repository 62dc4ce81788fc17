"""Starts the service for a test: in this process, or as `eclip serve` in a process of its own."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastapi.testclient import TestClient

from service.api.context import Services
from service.app import create_app
from service.settings import Settings

START_S = 60
"""Seconds that a server may take until it is ready."""
POLL_S = 0.2
"""Seconds between two questions whether it is."""


@dataclass(frozen=True)
class Server:
    """A running `eclip serve`: its address, data directory, log and process."""

    url: str
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return int(self.url.rpartition(":")[2])


def in_process(settings: Settings, wired: Services | None = None) -> TestClient:
    """Returns a client of the app in this process; its requests carry this machine's own name."""
    app = create_app(settings, wired)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@contextmanager
def run_server(
    data_dir: Path,
    *arguments: str,
    command: str = "serve",
    descriptors: int | None = None,
    until: str = "/health/ready",
    **environment: str,
) -> Iterator[Server]:
    """Runs `eclip serve`, or another command, and yields it once `until` answers 200.

    descriptors: the limit of open files. On exit it gets SIGTERM and must end with status 0, unless
    the test ended it before.
    """
    port = _free_port()
    log = data_dir / "server.log"
    variables = {"ECLIP_PORT": str(port), "ECLIP_DATA_DIR": str(data_dir), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", command, *arguments],
            env=os.environ | variables,
            stdout=output,
            stderr=output,
            preexec_fn=None if descriptors is None else partial(_limit_files, descriptors),
        )
        url = f"http://{environment.get('ECLIP_HOST', '127.0.0.1')}:{port}"
        try:
            _wait_until_ready(url + until, process, log)
            yield Server(url, data_dir, log, process)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=60) == 0  # deleted content is erased first
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_S)
    raise AssertionError(f"the server did not become ready:\n{log.read_text()}")


def _limit_files(most: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
