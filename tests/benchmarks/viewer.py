"""How soon does a 5-megapixel radiograph show on the page, and how fast is a drag?

    python -m tests.benchmarks.viewer [--rounds 7]

A real Chromium without a graphics card opens the page of a server with the demo library, on one
machine. *Shown* is from the drop to the end of the frame that paints the image. *Frame* is the time
between two frames while a drag changes the window, with a movement of the pointer in each; *zoomed*
is the same four times as large. The second table says what PNG of 16 bits would cost in place of
raw words, on the server alone.
"""

import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless
from rich.console import Console
from rich.table import Table

from service.settings import DEMO
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.web.conftest import ARGUMENTS
from tests.support.display import read_display
from tests.support.server import run_server

ROWS, COLUMNS = 2500, 2048
HEADER = {
    "BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 3000,
    "ImagerPixelSpacing": [0.14, 0.14],
}  # fmt: skip
VIEWPORT = {"width": 1920, "height": 1080}
MOVES = 60
SHOWN = "performance.getEntriesByName('image shown').at(-1).duration"
FRAMES = """moves => new Promise(done => {
  const canvas = document.querySelector("#panes canvas");
  const send = (type, x) => canvas.dispatchEvent(new PointerEvent(type,
    { pointerId: 1, button: 0, clientX: x, clientY: 400, bubbles: true }));
  canvas.setPointerCapture = () => {};
  const times = [];
  send("pointerdown", 300);
  const step = now => {
    times.push(now);
    if (times.length > moves) { send("pointerup", 300); done(times); return; }
    send("pointermove", 300 + times.length);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def radiograph() -> np.ndarray:
    """The demo's radiograph with 12 bits, enlarged and with a detector's noise."""
    with Image.open(DEMO / "radiograph.png") as image:
        large = image.convert("F").resize((COLUMNS, ROWS), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(7).normal(0, 12, (ROWS, COLUMNS))
    return np.clip(np.asarray(large) * 15 + 100 + noise, 0, 4095).astype(np.uint16)


def files() -> Iterator[tuple[str, str, bytes]]:
    """Yields the name, the file's name and the bytes of each file."""
    pixels = radiograph()
    dataset = dicom_dataset(pixels, **HEADER)
    yield "DICOM, uncompressed", "a.dcm", dicom_bytes(dataset)
    for name, syntax in (("JPEG-LS", JPEGLSLossless), ("JPEG 2000", JPEG2000Lossless)):
        dataset = dicom_dataset(pixels, **HEADER)
        dicom_bytes(dataset)
        dataset.compress(syntax)
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        yield f"DICOM, {name}", "a.dcm", file.getvalue()
    png = io.BytesIO()
    Image.fromarray((pixels >> 4).astype(np.uint8)).save(png, "PNG")
    yield "PNG, 8 bits", "a.png", png.getvalue()


def shown(page: Page, path: Path) -> float:
    """The milliseconds until a file shows."""
    page.locator("#file").set_input_files(path)
    page.get_by_role("status").filter(has_text="Done.").wait_for(timeout=60_000)
    return float(page.evaluate(SHOWN))


def frame_ms(page: Page) -> float:
    """The milliseconds between two frames of a drag."""
    return float(np.median(np.diff(page.evaluate(FRAMES, MOVES))))


def milliseconds(work: Callable[[], object]) -> float:
    """The milliseconds that some work takes."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def measured(browser: Browser, url: str, folder: Path, rounds: int) -> Table:
    """Returns a row for each file."""
    table = Table("file", "MB", "/display ms", "shown ms: median", "worst", "frame ms", "zoomed")
    for name, file_name, content in files():
        (path := folder / file_name).write_bytes(content)
        page = browser.new_page(viewport=VIEWPORT)
        page.goto(url)
        times = [shown(page, path) for _ in range(rounds + 1)][1:]
        frames = [frame_ms(page)]
        for _ in range(6):
            page.get_by_role("button", name="Zoom in").click()
        frames.append(frame_ms(page))
        page.close()
        asked = [
            milliseconds(partial(httpx.post, f"{url}/display", content=content))
            for _ in range(rounds)
        ]
        row = (len(content) / 1e6, statistics.median(asked), statistics.median(times), max(times))
        table.add_row(name, f"{row[0]:.1f}", *(f"{each:.0f}" for each in row[1:]),
                      *(f"{each:.1f}" for each in frames))  # fmt: skip
    return table


def as_png(url: str) -> Table:
    """Returns what PNG of 16 bits costs in place of raw words."""
    _, _, content = next(files())
    _, pixels = read_display(httpx.post(f"{url}/display", content=content).content)
    table = Table("pixels as", "MB", "to encode, ms")
    table.add_row("raw words", f"{pixels.nbytes / 1e6:.1f}", f"{milliseconds(pixels.tobytes):.0f}")
    for level in (1, 6):
        png = io.BytesIO()
        save = partial(Image.fromarray(np.ascontiguousarray(pixels)).save, format="PNG")
        took = milliseconds(partial(save, png, compress_level=level))
        table.add_row(f"PNG, level {level}", f"{len(png.getvalue()) / 1e6:.1f}", f"{took:.0f}")
    return table


def main(rounds: Annotated[int, typer.Option(help="Drops of each file")] = 7) -> None:
    """Measures and prints."""
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server(Path(folder), "--demo") as server,
        sync_playwright() as playwright,
    ):
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        Console(width=100).print(measured(browser, server.url, Path(folder), rounds))
        Console(width=100).print(as_png(server.url))
        browser.close()


if __name__ == "__main__":
    typer.run(main)
