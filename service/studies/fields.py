"""Defines the fields of a study and their bounds, whichever way it comes in."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

MAX_VIEWS = 16
"""Images that one study may have."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Metadata = dict[str, str | int | float | bool]
Facts = Annotated[Metadata, Field(max_length=32)]
Split = Literal["train", "validation", "test"]
LOCAL = "local"
"""The source of a study that names none."""
