"""One module a data set: its published layout → Study records."""

from collections.abc import Callable, Iterator
from pathlib import Path

from training.data.sources import covid_chestxray
from training.data.study import Study

SOURCES: dict[str, Callable[[Path], Iterator[Study]]] = {
    covid_chestxray.SOURCE: covid_chestxray.studies,
}
