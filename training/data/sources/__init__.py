"""One module a data set: its published layout → Study records."""

from collections.abc import Callable, Iterator
from pathlib import Path

from training.data.sources import covid_chestxray, egd_cxr, reflacx
from training.data.study import Study

SOURCES: dict[str, Callable[[Path], Iterator[Study]]] = {
    covid_chestxray.SOURCE: covid_chestxray.studies,
    egd_cxr.SOURCE: egd_cxr.studies,
    reflacx.SOURCE: reflacx.studies,
}
