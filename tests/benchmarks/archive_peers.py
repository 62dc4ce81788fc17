"""Starts what the archive benchmark compares: this build, an earlier one, and other readers.

Each is `peers/dicom_readers.py` in an environment of its own, a process that lives on and answers
one file at a time.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

COMMIT = "731fc6c"
"""The commit that this build is compared with."""
OURS, OURS_GAP = "eclip", "eclip, gap 2"
BEFORE, BEFORE_GAP = COMMIT, f"{COMMIT}, gap 2"
OWN = (OURS, OURS_GAP, BEFORE, BEFORE_GAP)
OTHERS = ("pydicom", "pydicom, window", "MONAI", "SimpleITK", "torchxrayvision")
"""Readers of `peers/dicom_readers.py` that the environment of the peers has."""
KEEPS_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Lets each process keep freed memory. By itself glibc returns it to the system, or not, by what
was freed before; then the same call takes up to half as long again, to clear new pages."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
"""Threads that wait for each other would count as CPU time of the peers."""
END_S = 10
"""Seconds that a reader may take to end."""
SCRIPT = Path(__file__).parent / "peers" / "dicom_readers.py"

Cost = dict[str, float]
"""`read_ms`, `cpu_ms` and `wall_ms` of one image."""


class CannotReadError(Exception):
    """A reader refused a file. Its text is the type of the reader's error."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A started reader."""

    process: subprocess.Popen[str]

    def read(self, path: Path) -> Cost:
        """Reads one file. Raises CannotReadError, or RuntimeError if the process has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended while it read {path}.")
        answer = json.loads(line)
        if "error" in answer:
            raise CannotReadError(answer["error"])
        return dict(answer)


def before(folder: Path) -> Path:
    """Checks the earlier build out and makes its environment. Returns its checkout.

    Both are kept in the folder, so that they are made once. Its own constraints pin the versions.
    """
    checkout = folder / COMMIT
    ready = checkout / ".venv" / "ready"
    if not ready.exists():
        archive = subprocess.run(
            ["git", "archive", COMMIT], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(checkout, filter="data")
        subprocess.run([sys.executable, "-m", "venv", checkout / ".venv"], check=True)
        install = ["-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", ".[cpu]"]
        subprocess.run([checkout / ".venv/bin/python", *install], cwd=checkout, check=True)
        ready.touch()
    return checkout


def commands(checkout: Path | None, peers: Path | None) -> dict[str, list[str]]:
    """Returns each reader's command. Without a checkout or the peers' Python those are left out."""
    found = {OURS: [sys.executable, "eclip"], OURS_GAP: [sys.executable, "eclip:2"]}
    if checkout is not None:
        python = str(checkout / ".venv/bin/python")
        found |= {BEFORE: [python, "eclip"], BEFORE_GAP: [python, "eclip:2"]}
    if peers is not None:
        found |= {name: [str(peers), name] for name in OTHERS}
    return {name: [python, str(SCRIPT), reader] for name, (python, reader) in found.items()}


@contextmanager
def started(readers: Mapping[str, list[str]], log: Path) -> Iterator[dict[str, Reader]]:
    """Starts the readers, and ends them with the processes that they started."""
    running = {}
    others = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with ExitStack() as stack, log.open("w", encoding="utf-8") as errors:
        for name, command in readers.items():
            own = {"PYTHONPATH": str(ROOT)} if name in (OURS, OURS_GAP) else {}
            running[name] = Reader(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=others | ONE_THREAD | KEEPS_PAGES | own,
                )
            )
            stack.callback(_end, running[name].process)
        yield running


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a reader by the end of its input, or kills it if it does not heed that."""
    try:
        process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
