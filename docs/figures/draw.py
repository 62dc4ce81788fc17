"""Makes workbench.png: the page that reads the README's radiograph.

`python docs/figures/draw.py`, while `make serve` runs. Needs the development environment and
Chromium.
"""

import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from service.settings import DEMO

FOLDER = Path(__file__).parent
SERVER = "http://127.0.0.1:8000"
WINDOW = {"width": 1600, "height": 950}


def photograph(url: str, radiograph: Path, path: Path) -> None:
    """Writes the workbench as it shows the radiograph's report, with at most 256 colours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=WINDOW, color_scheme="light")
        page.goto(url)
        page.locator("#file").set_input_files(radiograph)
        page.get_by_role("status").filter(has_text="Done.").wait_for()
        pictures = page.locator("#cases img")
        pictures.evaluate_all("images => Promise.all(images.map(image => image.decode()))")
        page.screenshot(path=path)
        browser.close()
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    photograph(SERVER, DEMO / "radiograph.png", FOLDER / "workbench.png")
