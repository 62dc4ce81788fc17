"""Reads published data sets, one module each: their files → ManifestStudy records."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

from training.data.study import ManifestStudy, Skipped

_NAMES = (
    "chexpert",
    "covid_chestxray",
    "egd_cxr",
    "mimic_cxr",
    "nih_cxr14",
    "open_i",
    "pediatric_pneumonia",
    "reflacx",
    "rsna_pneumonia",
    "siim_acr",
)


def read_source(name: str, root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields the studies of a data set that was downloaded to `root`, and what it leaves out.

    Raises DataError, with file, row and column, for what is not the published data set, and OSError
    for a file that is missing or cannot be opened.
    """
    studies: Iterator[ManifestStudy | Skipped] = import_module(f"{__name__}.{name}").studies(root)
    return studies


SOURCES: dict[str, Callable[[Path], Iterator[ManifestStudy | Skipped]]] = {
    name: partial(read_source, name) for name in _NAMES
}
"""Name of each data set → what reads it. Its module is imported when it is first read."""
