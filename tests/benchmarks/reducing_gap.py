"""Measures what a bundle's reducing gap saves on full-size radiographs, and what it changes.

`python -m tests.benchmarks.reducing_gap` decodes and preprocesses phantoms of 2048×2500 pixels with
film grain, as JPEG and as 12-bit DICOM, with no gap and with three, on one thread, and prints CPU
milliseconds (medians of interleaved rounds), the mean difference of the tower's input in grey
levels, and the lowest cosine of the demo bundle's embedding with that of the exact input.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import numpy as np
import onnxruntime
import typer
from PIL import Image

from service.bundle.manifest import IMAGE_TOWER, load
from service.bundle.preprocess import ImageSpec, preprocess
from service.imaging.decode import ImageLimits, decode
from service.settings import DEMO_BUNDLE
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture
from training.data.phantom import PhantomConfig, phantom

SIZE, GRAIN = (2500, 2048), 4.0
GAPS = (None, 3.0, 2.0, 1.0)
ROUNDS, PHANTOMS = 5, 4


def main() -> None:
    """Prints a row for each kind and gap."""
    tower = onnxruntime.InferenceSession(load(DEMO_BUNDLE).path / IMAGE_TOWER)
    spent, levels = defaultdict(list), defaultdict(list)
    for _ in range(ROUNDS):
        for kind, data in radiographs():
            for gap in GAPS:
                spec = ImageSpec(height=224, width=224, reducing_gap=gap)
                start = time.process_time()
                pixels = preprocess(decode(data, ImageLimits(), spec).pixels, spec)
                spent[kind, gap].append(1000 * (time.process_time() - start))
                levels[kind, gap].append(pixels)
    for (kind, gap), taken in spent.items():
        exact, fast = np.stack(levels[kind, None]), np.stack(levels[kind, gap])
        gray = np.abs(exact.astype(int) - fast).mean()
        cosine = (embed(tower, exact) * embed(tower, fast)).sum(axis=1).min()
        typer.echo(
            f"{kind:5} {gap or 'none'!s:>4}: {median(taken):5.1f} ms, {gray:.2f}, {cosine:.4f}"
        )


def radiographs() -> Iterator[tuple[str, bytes]]:
    """Yields the same images, with their kind, at every call."""
    for index in range(PHANTOMS):
        rng = np.random.default_rng(index)
        drawn = Image.fromarray(phantom(PhantomConfig(size=512), index).image).resize(SIZE)
        grained = np.clip(np.asarray(drawn) + rng.normal(0, GRAIN, SIZE[::-1]), 0, 255)
        yield "JPEG", picture(Image.fromarray(grained.astype(np.uint8)), "JPEG", quality=92)
        yield "DICOM", dicom_bytes(dicom_dataset((grained * 16).astype(np.uint16)))


def embed(tower: onnxruntime.InferenceSession, pixels: np.ndarray) -> np.ndarray:
    """Embeds uint8[N,224,224] as float32[N,D]; the demo's tower takes a smaller image."""
    side = tower.get_inputs()[0].shape[1]
    small = [np.asarray(Image.fromarray(image).resize((side, side))) for image in pixels]
    embedding: np.ndarray = tower.run(["embedding"], {"pixels": np.stack(small)})[0]
    return embedding


if __name__ == "__main__":
    main()
