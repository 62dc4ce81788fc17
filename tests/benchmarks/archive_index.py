"""Measures `eclip index` of a folder of DICOM files, by this build and by an earlier one."""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.bundle.manifest import load, seal
from service.settings import DEMO_BUNDLE, PREFIX
from tests.benchmarks.archive_peers import BEFORE, OURS
from tests.benchmarks.memory import Peak
from tests.support.paths import ROOT

GAP = 2.0
POLL_S = 0.2
"""Seconds between two looks at the memory. Each look takes a few milliseconds of a core."""
_OUTCOME = re.compile(r"(\d+) studies .*, (\d+) rejected")


@dataclass(frozen=True, slots=True)
class Run:
    """One `eclip index`, from its start to its end.

    cpu_s, peak_mib: of its process and those that it starts; what they share counts in each.
    """

    seconds: float
    cpu_s: float
    peak_mib: float
    stored: int
    rejected: int


def bundles(folder: Path, *, vit: bool) -> dict[str, Path]:
    """Makes the bundles to index with, by name. They are kept in the folder."""
    found = {"demo": DEMO_BUNDLE}
    if vit:
        found["ViT-B-32 int8"] = folder / "vit-b-32"
    if vit and not found["ViT-B-32 int8"].exists():
        from tests.benchmarks.serving import make_model  # which loads torch, for seconds

        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            make_model(Path(scratch))[0].path.rename(found["ViT-B-32 int8"])
    return {
        f"{name}{suffix}": path
        for name, plain in found.items()
        for suffix, path in (("", plain), (", gap 2", with_gap(plain, folder)))
    }


def with_gap(bundle: Path, folder: Path) -> Path:
    """Copies a bundle, but for the reducing gap that it declares."""
    manifest = load(bundle).manifest
    copied = folder / f"{manifest.id[:12]}-gap"
    if not copied.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            draft = Path(shutil.copytree(bundle, Path(scratch, "bundle")))
            image = manifest.image.model_copy(update={"reducing_gap": GAP})
            seal(draft, manifest.model_copy(update={"image": image}))
            draft.rename(copied)
    return copied


def commands(checkout: Path | None) -> dict[str, tuple[list[str], Path]]:
    """Returns each build's `eclip index` and the directory that it runs in."""
    pythons = {OURS: (sys.executable, ROOT)}
    if checkout is not None:
        pythons[BEFORE] = (str(checkout / ".venv/bin/python"), checkout)
    return {
        build: ([python, "-m", "service.cli", "index"], place)
        for build, (python, place) in pythons.items()
    }


def index(command: list[str], folder: Path, archive: Path, bundle: Path) -> Run:
    """Indexes an archive into an empty library. Raises RuntimeError if the command fails."""
    with tempfile.TemporaryDirectory() as scratch, Path(scratch, "log").open("w+") as log:
        process = subprocess.Popen(
            [*command, str(archive)],
            cwd=folder,
            env=_environment(bundle, Path(scratch, "var")),
            stdout=log,
            stderr=log,
        )
        used, start = _children_s(), time.perf_counter()
        with Peak(process.pid, POLL_S) as peak:
            process.wait()
            seconds = time.perf_counter() - start
        log.seek(0)
        said = log.read()
    outcome = _OUTCOME.search(said)
    if outcome is None:
        raise RuntimeError(f"{command} failed:\n{said[-2000:]}")
    stored, rejected = map(int, outcome.groups())
    return Run(seconds, _children_s() - used, peak.mib, stored, rejected)


def _environment(bundle: Path, data_dir: Path) -> Mapping[str, str]:
    """Returns this process's environment with the settings of a run, and no others."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    settings = {"BUNDLE": bundle, "DATA_DIR": data_dir, "LOG_LEVEL": "warning"}
    return others | {f"{PREFIX}{name}": str(value) for name, value in settings.items()}


def _children_s() -> float:
    """CPU-seconds of the processes that were waited for, and of those that they waited for."""
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    return reaped.ru_utime + reaped.ru_stime
