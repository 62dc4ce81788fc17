"""Where the repository and its example radiograph are."""

from pathlib import Path

from service.settings import DEMO

ROOT = Path(__file__).parents[2]
RADIOGRAPH = DEMO / "radiograph.png"
