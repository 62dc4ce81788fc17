"""Writes the golden OpenAPI document: `make openapi`, after a change of the contract was meant."""

import json
from pathlib import Path

from service.app import create_app
from service.settings import Settings

GOLDEN = Path(__file__).with_name("openapi.json")


def document() -> str:
    """The contract as this code has it."""
    return json.dumps(create_app(Settings()).openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(document(), encoding="utf-8")
