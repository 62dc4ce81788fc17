"""Turns what `eclip-train evaluate --out` wrote into one table a data set, one encoder a row.

python -m training.experiments.real_data.tables MEASURED > tables.md
MEASURED holds DATA SET/ENCODER/metrics.json.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from training.evaluate.page import METRICS
from training.evaluate.result import Estimate, Result

Numbers = Mapping[str, Estimate]
TABLES = {
    "covid_chestxray": {
        "recall@1/image-to-report": "R@1 i→r",
        "recall@5/image-to-report": "R@5 i→r",
        "recall@10/image-to-report": "R@10 i→r",
        "recall@5/report-to-image": "R@5 r→i",
        "recall@10/report-to-image": "R@10 r→i",
        "auroc_present/covid-19": "AUROC COVID-19, present",
        "auroc_margin/covid-19": "AUROC COVID-19, margin",
        "auroc_present/macro": "AUROC macro, present",
        "auroc_margin/macro": "AUROC macro, margin",
    },
    "pediatric_pneumonia": {
        "auroc_present/pneumonia": "AUROC pneumonia, present",
        "auroc_margin/pneumonia": "AUROC pneumonia, margin",
        "auroc_margin/no finding": "AUROC no finding, margin",
        "single_label/accuracy": "accuracy",
        "linear_probe/10%": "probe 10 %",
        "linear_probe/100%": "probe 100 %",
    },
}
"""Data set → number → its heading."""


def main(measured: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Prints every table, as Markdown."""
    for data_set, columns in TABLES.items():
        files = measured.glob(f"{data_set}/*/{METRICS}")
        encoders = {path.parent.name: read(path) for path in files}
        typer.echo("\n".join((f"## {data_set}", "", *table(encoders, columns), "")))


def read(metrics: Path) -> Numbers:
    """Reads every number of one metrics.json; a label's is `measure/label`."""
    return TypeAdapter(Result).validate_json(metrics.read_bytes()).numbers()


def table(encoders: Mapping[str, Numbers], columns: Mapping[str, str]) -> Iterator[str]:
    """Yields chance and, by name, each encoder. A number that was not measured is left empty."""
    yield _row("encoder", *columns.values())
    yield _row(*["---"] * (len(columns) + 1))
    known = {name: each for numbers in encoders.values() for name, each in numbers.items()}
    yield _row("chance", *(known[name].cells()[2] if name in known else "" for name in columns))
    for encoder, numbers in sorted(encoders.items()):
        yield _row(encoder, *(_cell(numbers.get(name)) for name in columns))


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    value, spread, *_ = estimate.cells()
    return f"{value} ({spread})" if spread else value


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    typer.run(main)
