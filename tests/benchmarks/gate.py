"""Measures how many images of each kind are doubted, and how many get no report.

`python -m tests.benchmarks.gate FOLDER` takes the folder of real radiographs that the tests use. It
asks the checks of an image's content (`service.imaging.content`) and two gates: the demo bundle's,
which was fitted on phantoms, and one that is fitted here on one half of the patients of `nih_1000`.
"""

import csv
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pydicom
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.arrays import UInt8
from service.bundle.gate import Gate
from service.bundle.manifest import load
from service.bundle.preprocess import preprocess
from service.imaging.content import colour_doubts, grey_doubts
from service.settings import DEMO_BUNDLE
from tests.benchmarks.reporting import UNSEEN_SEED
from tests.support.pictures import hand, page, photographs
from training.data.phantom import PhantomConfig, phantom
from training.export.gate import fit_gate
from training.export.strangers import TURNS, strangers

SPEC = load(DEMO_BUNDLE).manifest.image
FITTED = "nih_1000"
SETS = {
    "covid_chestxray": ("metadata.csv", "filename", "patientid"),
    "hannover": ("labels.csv", "image", "patient"),
    FITTED: ("labels.csv", "image", "patient"),
    "pediatric_large": ("labels.csv", "image", "patient"),
    "pediatric_pneumonia": ("labels.csv", "filename", "patient"),
}
"""Folder → its table, and the columns of the image and of the patient."""
LEG = Path("dicom_other", "RG3_J2KR.dcm")
DRAWN = 100
REPEATS = 20
BORDER = 32
"""Pixels on each side of the tower's input, so that 0.36 of the picture is the field."""
PAGES = ((255, 20), (235, 60), (40, 220))
"""Grey levels of ground and ink."""


@dataclass(frozen=True)
class Seen:
    """One image: the tower's input, and whether its content was doubted."""

    pixels: UInt8
    content: bool


def main(folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Prints the table."""
    console = Console(width=140)
    real = {name: [*_radiographs(folder, name)] for name in SETS}
    first_half = np.stack([seen.pixels for second, seen in real[FITTED] if not second])
    gates = {"demo": load(DEMO_BUNDLE).gate, FITTED: fit_gate(first_half)}
    measured = {name: gate for name, gate in gates.items() if gate}
    titles = [f"{name}: {what}" for name in measured for what in ("doubt", "refuse")]
    table = Table("images", "number", "content", *titles, "no report")
    for name, images in _kinds(real, folder):
        table.add_row(name, str(len(images)), *_rates(images, measured))
    console.print(table)
    everyone = [each for images in real.values() for each in images]
    for name, gate in measured.items():
        console.print(
            f"{name}: balanced accuracy {gate.accuracy:.3f}, refuses {gate.threshold:.0f}"
        )
        for half in (0, 1):
            highest = max(gate.score(seen.pixels) for second, seen in everyone if second == half)
            console.print(f"  highest score of a real one, halves {half + 1}: {highest:.1f}")
    for name, milliseconds in _costs(measured["demo"]):
        console.print(f"{name}: {milliseconds:.2f} ms")


def _rates(images: list[Seen], gates: Mapping[str, Gate]) -> Iterator[str]:
    content = np.array([seen.content for seen in images])
    yield f"{content.mean():.4f}"
    for gate in gates.values():
        scores = np.array([gate.score(seen.pixels) for seen in images])
        yield f"{(scores > 0).mean():.4f}"
        yield f"{(scores >= gate.threshold).mean():.4f}"
    first = next(iter(gates.values()))
    refused = np.array([first.score(seen.pixels) >= first.threshold for seen in images])
    yield f"{(content | refused).mean():.4f}"


def _kinds(
    real: Mapping[str, list[tuple[bool, Seen]]], folder: Path
) -> Iterator[tuple[str, list[Seen]]]:
    """Yields each kind of image and its images, those that should pass first."""
    config = PhantomConfig(seed=UNSEEN_SEED)
    phantoms = [_seen(phantom(config, number).image) for number in range(DRAWN)]
    yield "new phantoms", phantoms
    for name, images in real.items():
        for half in (0, 1):
            yield f"{name}, half {half + 1}", [seen for second, seen in images if second == half]
    held = [seen for images in real.values() for second, seen in images if second]
    for kind, turn in TURNS.items():
        yield f"phantoms {kind}", [_turned(seen, turn) for seen in phantoms]
        yield f"real ones, halves 2, {kind}", [_turned(seen, turn) for seen in held]
    yield "real ones, halves 2, mirrored", [_turned(seen, np.fliplr) for seen in held]
    framed = [_seen(np.pad(seen.pixels, BORDER)) for seen in held]
    yield "real ones, halves 2, in a black border", framed
    hands = [hand(seed) for seed in range(DRAWN)]
    yield "drawn hands", [*map(_seen, hands)]
    yield "drawn hands, fingers down", [_seen(each[::-1]) for each in hands]
    for kind, images in strangers().items():
        yield kind, [*map(_seen, images)]
    yield "whole photographs, in colour", [_seen_in_colour(each) for each in photographs()]
    yield "pages of text", [_seen(np.asarray(page(*greys))) for greys in PAGES]
    if (path := folder / LEG).exists():
        leg = _leg(path)
        yield "a real leg", [_seen(leg)]
        yield "a real leg, turned and inverted", [_seen(turn(leg)) for turn in TURNS.values()]
        yield (
            "a real leg, cropped to its soft tissue",
            [_seen(leg[:, leg.shape[1] // 4 : -leg.shape[1] // 3])],
        )


def _radiographs(folder: Path, name: str) -> Iterator[tuple[bool, Seen]]:
    """Yields whether the patient is in the second half, and the radiograph."""
    table, image, patient = SETS[name]
    with (folder / name / table).open(newline="") as file:
        for row in csv.DictReader(file):
            path = folder / name / "images" / row[image]
            if path.is_file():
                digest = hashlib.sha256(row[patient].encode()).digest()
                yield bool(digest[0] % 2), _seen(np.asarray(Image.open(path).convert("L")))


def _leg(path: Path) -> UInt8:
    values = pydicom.dcmread(path).pixel_array
    low, high = np.percentile(values, [1, 99])
    return (255 - np.clip((values - low) / (high - low) * 255, 0, 255)).astype(np.uint8)


def _seen(levels: UInt8) -> Seen:
    levels = np.ascontiguousarray(levels)
    return Seen(preprocess(levels, SPEC), bool(grey_doubts(levels)))


def _seen_in_colour(levels: UInt8) -> Seen:
    image = Image.fromarray(levels)
    grey = _seen(np.asarray(image.convert("L")))
    return Seen(grey.pixels, grey.content or bool(colour_doubts(image)))


def _turned(seen: Seen, turn: Callable[[UInt8], UInt8]) -> Seen:
    return Seen(np.ascontiguousarray(turn(seen.pixels)), seen.content)


def _costs(gate: Gate) -> Iterator[tuple[str, float]]:
    """Yields each check and its CPU time in ms on an image of 2,000 × 2,500 pixels."""
    large = np.random.default_rng(0).integers(0, 256, (2000, 2500, 3)).astype(np.uint8)
    image, grey = Image.fromarray(large), np.ascontiguousarray(large[..., 0])
    pixels = preprocess(grey, SPEC)
    checks = {
        "grey levels": lambda: grey_doubts(grey),
        "colours": lambda: colour_doubts(image),
        "gate": lambda: gate.score(pixels),
    }
    for name, check in checks.items():
        check()
        start = time.process_time()
        for _ in range(REPEATS):
            check()
        yield name, (time.process_time() - start) / REPEATS * 1000


if __name__ == "__main__":
    typer.run(main)
