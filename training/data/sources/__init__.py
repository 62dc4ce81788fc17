"""Reads published data sets, one module each: their files → ManifestStudy records."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from training.data.study import ManifestStudy, Skipped

SOURCES = (
    "chexpert",
    "covid_chestxray",
    "egd_cxr",
    "mimic_cxr",
    "nih_cxr14",
    "open_i",
    "pediatric_pneumonia",
    "reflacx",
    "rsna_pneumonia",
)
"""Names of the data sets; each is the module here that reads it."""


def read_source(name: str, root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields the studies of a data set that was downloaded to `root`, and what it leaves out."""
    studies: Iterator[ManifestStudy | Skipped] = import_module(f"{__name__}.{name}").studies(root)
    return studies
