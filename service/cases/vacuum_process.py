"""Runs the program that rewrites the files of a shard (`vacuum.py`), and ends it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from service.cases import vacuum


class VacuumProcess:
    """The process that rewrites a copy, until it is ended for good."""

    def __init__(self) -> None:
        self._starting, self._ended = threading.Lock(), False
        self._process: subprocess.Popen[bytes] | None = None

    def require(self) -> None:
        """Raises RuntimeError if it was ended."""
        if self._ended:
            raise RuntimeError("The shard is closed.")

    def run(self, folder: Path, threads: int) -> None:
        """Waits for the process. Raises CalledProcessError if it fails or is ended."""
        arguments = [str(folder), str(threads), str(os.getpid())]
        with self._starting:
            self._process = subprocess.Popen(  # noqa: S603 - our own file, by this interpreter
                [sys.executable, "-P", vacuum.__file__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._ended:
                self._process.kill()
        status = self._process.wait()
        if status:
            raise subprocess.CalledProcessError(status, "vacuum")

    def kill(self) -> None:
        """Ends the process that runs now."""
        with self._starting:
            if self._process:
                self._process.kill()

    def end(self) -> None:
        """Ends the process that runs now, and lets no other one run."""
        with self._starting:
            self._ended = True
            if self._process:
                self._process.kill()
