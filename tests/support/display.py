"""Reads an answer of /display as a client does."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

FIRST = 4
"""Bytes of the length with which the answer begins."""


def read_display(content: bytes) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """Returns the facts and the pixels, [rows, columns]."""
    start = FIRST + int.from_bytes(content[:FIRST], "little")
    facts = json.loads(content[FIRST:start])
    pixels = np.frombuffer(content, f"<u{facts['bits'] // 8}", offset=start)
    return facts, pixels.reshape(facts["rows"], facts["columns"])
