"""One module a data set: its published layout → Study records."""

from collections.abc import Callable, Iterator
from pathlib import Path

from training.data.sources import (
    chexpert,
    covid_chestxray,
    egd_cxr,
    mimic_cxr,
    nih_cxr14,
    open_i,
    pediatric_pneumonia,
    reflacx,
    rsna_pneumonia,
)
from training.data.study import Skipped, Study

SOURCES: dict[str, Callable[[Path], Iterator[Study | Skipped]]] = {
    chexpert.SOURCE: chexpert.studies,
    covid_chestxray.SOURCE: covid_chestxray.studies,
    egd_cxr.SOURCE: egd_cxr.studies,
    mimic_cxr.SOURCE: mimic_cxr.studies,
    nih_cxr14.SOURCE: nih_cxr14.studies,
    open_i.SOURCE: open_i.studies,
    pediatric_pneumonia.SOURCE: pediatric_pneumonia.studies,
    reflacx.SOURCE: reflacx.studies,
    rsna_pneumonia.SOURCE: rsna_pneumonia.studies,
}
