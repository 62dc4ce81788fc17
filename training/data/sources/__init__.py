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


_WITH_LATERAL = frozenset({"chexpert", "mimic_cxr"})
"""Data sets whose readers take `lateral`: lateral images too, behind each study's frontal ones."""


def read_source(
    name: str, root: Path, *, lateral: bool = False
) -> Iterator[ManifestStudy | Skipped]:
    """Yields the studies of a data set that was downloaded to `root`, and what it leaves out.

    lateral: read lateral images too, where the data set says which they are. Raises DataError, with
    file, row and column, for what is not the published data set, and OSError for a file that is
    missing or cannot be opened.
    """
    options = {"lateral": True} if lateral and name in _WITH_LATERAL else {}
    reader = import_module(f"{__name__}.{name}")
    studies: Iterator[ManifestStudy | Skipped] = reader.studies(root, **options)
    return studies


SOURCES: dict[str, Callable[..., Iterator[ManifestStudy | Skipped]]] = {
    name: partial(read_source, name) for name in _NAMES
}
"""Name of each data set → `read_source` for it. Its module is imported when it is first read."""
