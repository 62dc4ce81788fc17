"""Counts what the service reads of real reports, written in six ways.

`python -m tests.benchmarks.report_reading REPORTS.csv`, on Open-i's table of reports. It
also runs on earlier releases.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from service.cases.passages import split_report
from service.reporting.evidence import citable

Row = dict[str, str]
FORMS: dict[str, Callable[[Row], str]] = {
    "FINDINGS: … IMPRESSION: …": lambda r: (
        f"FINDINGS: {r['findings']} IMPRESSION: {r['impression']}"
    ),
    "four headings on one line": lambda r: (
        f"INDICATION: {r['indication']} COMPARISON: {r['comparison']} "
        f"FINDINGS: {r['findings']} IMPRESSION: {r['impression']}"
    ),
    "FINDINGS AND IMPRESSION: …": lambda r: (
        f"FINDINGS AND IMPRESSION: {r['findings']} {r['impression']}"
    ),
    "CHEST, TWO VIEWS: … IMPRESSIONS: …": lambda r: (
        f"CHEST, TWO VIEWS: {r['findings']}\nIMPRESSIONS: {r['impression']}"
    ),
    "headings alone on a line": lambda r: (
        f"FINAL REPORT\nFindings\n{r['findings']}\nImpression\n{r['impression']}"
    ),
    "background, then a paragraph": lambda r: (
        f"INDICATION: {r['indication']}\n\n{r['findings']}\n\nOPINION: {r['impression']}"
    ),
}


def main(path: Path) -> None:
    """Prints a line for each way of writing."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = Table("written as", "sections", "passages", "citable", title=f"{len(rows)} reports")
    for form, write in FORMS.items():
        reports = [split_report(write(row), "stu_1") for row in rows]
        sections = {passage.section for report in reports for passage in report}
        passages = sum(map(len, reports))
        cited = sum(len(citable(report)) for report in reports)
        table.add_row(form, str(len(sections)), f"{passages:,}", f"{cited:,}")
    Console().print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
