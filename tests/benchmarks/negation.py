"""How often does a search for "No X." find passages that state X, and the other way round?

`python -m tests.benchmarks.negation STUDIES` indexes a studies.jsonl (else the demo library) with
the demo bundle into a scratch folder, asks for each finding as stated and as denied, and tells of
the ten passages found what share states it, denies it, and says nothing of it
(`service.reporting.clauses` reads them), by mode of search. Each finding counts alike.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from service.cases.ingest import ingest
from service.cases.library import CaseLibrary, Query
from service.cases.schema import NOBODY
from service.cases.sources import open_source
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.reporting.clauses import parse_clauses
from service.reporting.polarity import normalise
from service.settings import DEMO_LIBRARY, Settings
from service.wiring import open_services

FINDINGS = (
    "pleural effusion", "pneumothorax", "consolidation", "cardiomegaly", "edema", "atelectasis",
    "nodule", "fibrosis",
)  # fmt: skip
MODES = ("dense", "sparse", "hybrid")
ASKED = {"There is {}.": "stated", "No {}.": "denied"}
K, PATIENCE_S = 10, 600.0


def main(studies: Annotated[Path, typer.Argument(exists=True)] = DEMO_LIBRARY) -> None:
    """Print a row for each way of asking and mode."""
    table = Table("asked", "mode", "states it", "denies it", "unclear", "says nothing", "found")
    with (
        tempfile.TemporaryDirectory() as scratch,
        open_services(Settings(data_dir=Path(scratch))) as wired,
    ):
        outcome = ingest(wired.library, open_source(studies).entries)
        for asked, how in ASKED.items():
            for mode in MODES:
                shares = list(_shares(wired.library, wired.encoder, asked, mode))
                means = [f"{share:.2f}" for share in np.mean(shares, axis=0)]
                table.add_row(how, mode, *means)
    Console().print(f"{outcome.stored} studies, {len(FINDINGS)} findings, {K} passages each", table)


def _shares(library: CaseLibrary, encoder: Encoder, asked: str, mode: str) -> Iterator[list[float]]:
    for finding in FINDINGS:
        text = asked.format(finding)
        vector = None if mode == "sparse" else encoder.texts([text], Deadline(PATIENCE_S))[0].vector
        words = None if mode == "dense" else text
        hits = library.search(vector, Query("passage", K, NOBODY, words=words))
        said = [says(hit.text or "", finding) for hit in hits]
        kinds = ("affirmed", "denied", "unclear", "nothing")
        yield [*(said.count(kind) / max(1, len(said)) for kind in kinds), len(said)]


def says(passage: str, finding: str) -> str:
    """affirmed, denied or unclear, as the first clause with the finding's words; else nothing."""
    words = set(re.findall(r"[a-z]+", finding))
    clauses = (clause for clause in parse_clauses(normalise(passage)) if words <= clause.words)
    return next((clause.polarity for clause in clauses), "nothing")


if __name__ == "__main__":
    typer.run(main)
