"""Writes the golden OpenAPI document; `make openapi` runs it when the contract is to change."""

import json
from pathlib import Path

from service.app import create_app
from service.settings import Settings

GOLDEN = Path(__file__).with_name("openapi.json")


def document() -> str:
    """The contract of this code; the version is left to pyproject.toml."""
    contract = create_app(Settings()).openapi()
    contract["info"]["version"] = "see pyproject.toml"
    return json.dumps(contract, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(document(), encoding="utf-8")
