"""Measures how fast studies are indexed, compared with the bare encoder on the same studies.

`python -m tests.benchmarks.indexing` takes turns between (a) the encoder alone on the demo
library's 240 studies, in the batches that indexing makes, (b) the functions of `eclip index`, into
an empty library on this disk, and (c) the same with one and with two encoders of a core each on a
local Ray cluster. Every run has a new encoder, so no cache helps. It prints medians of studies a
second, and their ratios. `--vit` takes a ViT-B-32 with random weights, in int8, instead of the
demo's model, which is so small that everything else takes long in comparison.

`--dicom 100` takes turns over a folder of as many DICOM files of 5 megapixels in five transfer
syntaxes instead, with one to four batches in progress. It prints medians of images a second, the
CPU seconds of this process and its decoder processes as a share of all cores, the peak of memory,
and what the batches waited for.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import psutil
import typer
from PIL import Image
from pydicom import uid

from service.cases.ingest import AT_ONCE, BATCH, Outcome, ingest
from service.cases.library import CaseLibrary
from service.cases.passages import split_report
from service.cases.records import NewStudy
from service.cases.renditions import RENDITION_SIDE
from service.cases.sources import Entry, open_source
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY, Settings
from service.wiring import open_library_on_ray, open_services
from tests.benchmarks.memory import Peak
from tests.benchmarks.serving import make_model
from tests.support.archive import archived

PATIENCE_S = 600.0
ROWS, COLUMNS, BITS = 2500, 2048, 12
SYNTAXES = (
    uid.ExplicitVRLittleEndian, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless,
    uid.RLELossless,
)  # fmt: skip
PROGRESSES = (1, 2, 3, 4)
"""Batches in progress that are compared."""


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    repeats: Annotated[int, typer.Option(min=1, help="Of the demo's studies, as new ones")] = 4,
    vit: Annotated[bool, typer.Option("--vit", help="A ViT-B-32 instead of the demo")] = False,
    dicom: Annotated[int, typer.Option(min=0, help="DICOM files, instead of the demo's")] = 0,
) -> None:
    """Prints the medians over the rounds."""
    if dicom:
        with tempfile.TemporaryDirectory() as scratch:
            bundle = make_model(Path(scratch))[0].path if vit else DEMO_BUNDLE
            compare_progresses(Path(scratch), bundle, rounds, dicom)
        return
    studies = [study for again in range(repeats) for study in demo_studies(again)]
    kinds: dict[str, Callable[[Settings, list[NewStudy]], float]] = {
        "bare encoder": bare,
        "indexing": indexed,
        "Ray, one encoder": partial(indexed_on_ray, encoders=1),
        "Ray, two encoders": partial(indexed_on_ray, encoders=2),
    }
    seconds = defaultdict(list)
    with tempfile.TemporaryDirectory() as models:
        bundle = make_model(Path(models))[0].path if vit else DEMO_BUNDLE
        for _ in range(rounds):
            for kind, run in kinds.items():
                with tempfile.TemporaryDirectory() as scratch:
                    settings = Settings(bundle=bundle, data_dir=Path(scratch))
                    seconds[kind].append(run(settings, studies))
    rates = {kind: len(studies) / median(taken) for kind, taken in seconds.items()}
    for kind, rate in rates.items():
        typer.echo(f"{kind:18} {rate:6.1f} studies a second, {rate / rates['bare encoder']:.2f}")
    typer.echo(f"two encoders: {rates['Ray, two encoders'] / rates['Ray, one encoder']:.2f} of one")


def demo_studies(again: int) -> list[NewStudy]:
    """Returns the demo library's studies under new ids, with new reports."""
    entries = open_source(DEMO_LIBRARY).entries
    return [
        NewStudy(
            f"{again}-{entry.study.study_id}",
            entry.study.record.model_copy(
                update={"report": f"{entry.study.record.report} Study {again}."}
            ),
            entry.study.images,
        )
        for entry in entries
        if isinstance(entry.study, NewStudy)
    ]


def bare(settings: Settings, studies: list[NewStudy]) -> float:
    """Measures the encoder alone, with as many batches at once as indexing has."""
    batches = [studies[start : start + BATCH] for start in range(0, len(studies), BATCH)]
    with open_services(settings) as wired, ThreadPoolExecutor(AT_ONCE) as pool:
        start = time.perf_counter()
        list(pool.map(lambda batch: encode(wired.encoder, batch), batches))
        return time.perf_counter() - start


def encode(encoder: Encoder, batch: list[NewStudy]) -> None:
    """Encodes all images of a batch, then all texts."""
    deadline = Deadline(PATIENCE_S, bulk=True)
    images = [image for study in batch for image in study.images]
    encoder.radiographs(images, deadline, RENDITION_SIDE)
    reports = [study.record.report or "" for study in batch]
    passages = [p.text for report in reports for p in split_report(report, "")]
    encoder.texts(reports + passages, deadline)


def indexed(settings: Settings, studies: list[NewStudy]) -> float:
    """Measures a whole library with this process's encoder."""
    with open_services(settings, bulk=True) as wired:
        return ingested(wired.library, studies, AT_ONCE)


def indexed_on_ray(settings: Settings, studies: list[NewStudy], encoders: int) -> float:
    """Measures a whole library with encoders that are already started."""
    one_core = settings.model_copy(update={"cores": 1})
    with open_library_on_ray(one_core, "local", encoders, gpus=0) as library:
        return ingested(library, studies, AT_ONCE * encoders)


def ingested(library: CaseLibrary, studies: list[NewStudy], at_once: int) -> float:
    """Seconds, once all of them are stored."""
    start = time.perf_counter()
    outcome = ingest(library, (Entry("", study) for study in studies), at_once=at_once)
    assert outcome.stored == len(studies), outcome.rejected[:3]
    return time.perf_counter() - start


def compare_progresses(scratch: Path, bundle: Path, rounds: int, files: int) -> None:
    """Indexes one folder with each number of batches in progress, and prints the medians."""
    archive = scratch / "archive"
    make_archive(archive, files)
    measured = defaultdict(list)
    for number in range(rounds + 1):
        for at_once in PROGRESSES:
            with tempfile.TemporaryDirectory(dir=scratch) as data:
                result = measure(Settings(bundle=bundle, data_dir=Path(data)), archive, at_once)
            if number:  # the first round warms up
                measured[at_once].append(result)
    for at_once, results in measured.items():
        wall, busy, mib = (median(values) for values in zip(*(r[:3] for r in results), strict=True))
        limits = ", ".join(sorted({str(result[3].limit) for result in results}))
        typer.echo(
            f"{at_once} batches: {files / wall:5.1f} images/s, {busy:4.0%} of the cores, "
            f"peak {mib:5.0f} MiB, waited for {limits}"
        )


def measure(settings: Settings, archive: Path, at_once: int) -> tuple[float, float, float, Outcome]:
    """Seconds, CPU seconds a second and core, and peak MiB of indexing a folder; and its outcome.

    The encoder is open before, and its decoder processes may be those of an earlier measurement.
    """
    with open_services(settings, bulk=True) as wired, Peak(os.getpid()) as peak:
        before, start = cpu_seconds(), time.perf_counter()
        outcome = ingest(wired.library, open_source(archive).entries, at_once=at_once)
        wall, spent = time.perf_counter() - start, cpu_seconds() - before
    assert not outcome.rejected, outcome.rejected[:3]
    return wall, spent / wall / settings.cores, peak.mib, outcome


def cpu_seconds() -> float:
    """CPU seconds so far of this process and of the processes that it started."""
    me = psutil.Process()
    times = [each.cpu_times() for each in (me, *me.children(recursive=True))]
    ended = times[0].children_user + times[0].children_system
    return ended + sum(each.user + each.system for each in times)


def make_archive(folder: Path, files: int) -> None:
    """Writes DICOM files of distinct patients and pixels, in the syntaxes by turns."""
    folder.mkdir()
    for number in range(files):
        data = archived(
            SYNTAXES[number % len(SYNTAXES)],
            shadows(number),
            BITS,
            PatientID=f"p{number}",
            StudyInstanceUID=f"2.25.{number + 1}",
        )
        (folder / f"{number}.dcm").write_bytes(data)


def shadows(seed: int) -> np.ndarray:
    """Returns soft shadows with noise, uint16[ROWS, COLUMNS], which compress as radiographs do."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.uniform(400, 3600, (10, 8)).astype(np.float32))
    smooth = np.asarray(coarse.resize((COLUMNS, ROWS), Image.Resampling.BICUBIC))
    noisy = smooth + random.normal(0, 8, smooth.shape)
    return np.clip(noisy, 0, 2**BITS - 1).astype(np.uint16)


if __name__ == "__main__":
    typer.run(main)
