"""Runs each phase of a contestant as a process, in the environment that it needs."""

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.benchmarks.library.contestants import BEFORE, OURS, PEERS
from tests.benchmarks.library.data import Data
from tests.support.paths import ROOT


@dataclass(frozen=True)
class Environment:
    """The Python of the peers and the folder with the earlier build's package."""

    peers: Path
    checkout: Path

    @classmethod
    def of(cls, folder: Path, peers: Path, *, with_before: bool) -> Self:
        """Writes the earlier build's service below the folder, if it takes part.

        It pins the version of Qdrant Edge that this build pins too, so it runs in the same
        environment.
        """
        checkout = folder / BEFORE
        if with_before:
            archive = subprocess.run(
                ["git", "archive", BEFORE, "service"], cwd=ROOT, check=True, stdout=subprocess.PIPE
            )
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
                tar.extractall(checkout, filter="data")
        return cls(peers, checkout)

    def run(self, data: Data, name: str, phase: str, number: float = 0) -> dict[str, Any]:
        """Runs a phase, and returns what it measured. Raises CalledProcessError."""
        python = self.peers if name in PEERS else sys.executable
        found = [str(self.checkout), str(ROOT)] if name == BEFORE else [str(ROOT)]
        command = [python, "-P", "-m", "tests.benchmarks.library.phase", phase, name]
        done = subprocess.run(
            [*command, str(data.size), str(data.folder), str(number)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(found)},
        )
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured


def measure(environment: Environment, data: Data, name: str, goal: float) -> dict[str, Any]:
    """Measures all phases of a contestant. Its index is left in the folder."""
    built = environment.run(data, name, "build")
    searched = environment.run(data, name, "search", goal)
    paced, loaded = (
        environment.run(data, name, phase, searched["effort"]) for phase in ("paced", "load")
    )
    result = {"build": built, "search": searched, "paced": paced, "load": loaded}
    if name == OURS:
        result["erasure"] = environment.run(data, name, "deletion")
    return result
