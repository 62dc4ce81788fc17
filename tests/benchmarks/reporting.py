"""What reports say, with and without retrieval and grounding, and what they cost.

`python -m tests.benchmarks.reporting` asks for reports of new phantoms from the demo library;
`python -m tests.benchmarks.reporting STUDIES` for reports of some of those real studies from the
others, where evidence is found by the study's own report, since the demo's model has learnt no real
radiograph: what is measured is writing and grounding, given evidence that is nearer than an image
finds. It prints

* milliseconds (p50) of each step but the language model's: evidence, extractive writing, grounding;
* by writer and evidence (the radiograph's own, or that of another radiograph: no retrieval), all
  sentences and those that grounding keeps: precision and recall of the findings that phantoms have,
  or that real studies are labelled with, ROUGE-L against their own reports, sentences a report, and
  how many of them are hallucinated: state a finding that the study has not, or deny one it has.

With `--llm-url` (`make vllm-cpu`) a language model writes too, eight reports at a time.
"""

import io
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.cases.ingest import ingest
from service.cases.schema import Vector
from service.cases.sources import open_source
from service.deadline import Deadline
from service.errors import ReportUngrounded
from service.reporting.background import read_background
from service.reporting.evidence import Subject
from service.reporting.evidence_set import EvidenceSet
from service.reporting.extractive import consensus
from service.reporting.grounding import Grounding
from service.reporting.pipeline import Reporter, final_report
from service.reporting.report import ReportRequest
from service.reporting.sentences import Sentence
from service.settings import DEMO_LIBRARY, Settings
from service.wiring import open_services
from tests.benchmarks.negation import says
from training.data.manifest import read_manifest
from training.data.phantom import PhantomConfig, phantom
from training.data.phantom.findings import LABELS
from training.evaluate.reports import rouge_l

UNSEEN_SEED = 9100
"""Of a phantom data set that neither the demo's model nor its library has seen."""
PATIENCE_S, AT_ONCE = 3600.0, 8
K, MAX_TOKENS = 4, 1600
"""Prompt and the longest report that the schema allows are within 4,096 tokens."""


WORDS = tuple(label.split()[-1] for label in LABELS)
"""By which findings are known in labels and sentences."""


@dataclass(frozen=True)
class Case:
    """A study: its own report, the `WORDS` that are true of it, what evidence is found by, and
    whom it is not to come from.
    """

    report: str
    present: frozenset[str]
    vector: Vector
    subject: Subject


def main(
    studies: Annotated[Path | None, typer.Argument(exists=True, help="studies.jsonl")] = None,
    cases: Annotated[int, typer.Option(min=2)] = 32,
    llm_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server")] = None,
) -> None:
    """Print both."""
    with TemporaryDirectory() as scratch:
        settings = Settings(
            data_dir=Path(scratch),
            llm_url=(llm_url,) if llm_url else (),
            llm_timeout_s=PATIENCE_S,
            llm_max_tokens=MAX_TOKENS,
        )
        with open_services(settings) as wired:
            ingest(wired.library, open_source(studies or DEMO_LIBRARY).entries)
            reporter = wired.reporter
            if studies:
                asked = real(reporter, studies, cases)
            else:
                asked = [made(reporter, number) for number in range(cases)]
            show_steps(reporter, asked)
            table = Table(
                "writer", "evidence", "sentences", "precision", "recall", "ROUGE-L",
                "sentences a report", "hallucinated", "no report",
            )  # fmt: skip
            writers = {"extractive": replace(reporter, language_model=None)}
            if llm_url:
                writers["language model"] = reporter
            for name, writer in writers.items():
                for own in (True, False):
                    add_rows(table, name, writer, asked, own)
            Console().print(table)


def made(reporter: Reporter, number: int) -> Case:
    """An unseen phantom, encoded as an upload would be."""
    one = phantom(PhantomConfig(seed=UNSEEN_SEED), number)
    file = io.BytesIO()
    Image.fromarray(one.image).save(file, "PNG")
    encoded = reporter.encoder.image(file.getvalue(), Deadline(PATIENCE_S))
    present = frozenset(finding.label.split()[-1] for finding in one.findings)
    return Case(one.study.report, present, encoded.vector, Subject())


def real(reporter: Reporter, path: Path, count: int) -> list[Case]:
    """Some of the studies that have a report, always the same ones."""
    reported = [study for study in read_manifest(path) if study.report]
    chosen = random.Random(UNSEEN_SEED).sample(reported, count)
    texts = reporter.encoder.texts([study.report for study in chosen], Deadline(PATIENCE_S))
    return [
        Case(
            study.report,
            frozenset(
                word for word in WORDS if any(word in label for label in study.findings or ())
            ),
            text.vector,
            Subject(study.patient_id, study.study_id),
        )
        for study, text in zip(chosen, texts, strict=True)
    ]


def show_steps(reporter: Reporter, asked: Sequence[Case]) -> None:
    """Each step for each case, after one for warming up; sentences are those of the consensus."""
    taken = defaultdict(list)
    for case in [asked[0], *asked]:
        deadline = Deadline(PATIENCE_S)
        marks = [time.perf_counter()]
        background = read_background(reporter.library, Subject())
        passages = reporter.gather(case.vector, ReportRequest(), background, deadline)
        marks.append(time.perf_counter())
        evidence = EvidenceSet(passages)
        drafts = consensus(evidence, deadline)
        marks.append(time.perf_counter())
        classification = reporter.classifier(case.vector)
        grounding = Grounding(evidence, classification, reporter.encoder, deadline)
        for draft in drafts:
            grounding.check(draft)
        marks.append(time.perf_counter())
        for step, spent in zip(("evidence", "writing", "grounding"), np.diff(marks), strict=True):
            taken[step].append(1000 * spent)
    both = [a + b for a, b in zip(taken["evidence"], taken["grounding"], strict=True)][1:]
    steps = ", ".join(f"{step} {median(times[1:]):.1f}" for step, times in taken.items())
    Console().print(f"p50 ms: {steps}; evidence and grounding together {median(both):.1f}")


def add_rows(table: Table, name: str, writer: Reporter, asked: Sequence[Case], own: bool) -> None:
    """A row of all sentences and one of those that grounding keeps."""
    sources = asked if own else [*asked[1:], asked[0]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reports = list(pool.map(partial(said, writer), asked, sources))
    evidence = "its own" if own else "another's"
    every = [sentences or [] for sentences in reports]
    failed = str(reports.count(None))
    for label, kept in (
        ("all", every),
        ("grounded", [[s for s in one if s.status == "supported"] for one in every]),
    ):
        table.add_row(name, evidence, label, *figures(asked, kept), failed)


def said(writer: Reporter, case: Case, source: Case) -> list[Sentence] | None:
    """What is written of a case from the evidence that another, or itself, finds; None where the
    model gives no report, even when asked twice.
    """
    deadline = Deadline(PATIENCE_S)
    request = ReportRequest(k=K, subject=case.subject, ungrounded="flag")
    background = read_background(writer.library, case.subject)
    evidence = writer.gather(source.vector, request, background, deadline)
    try:
        report = final_report(writer.write(case.vector, evidence, request, background, deadline))
    except ReportUngrounded:
        return None
    return [*report.findings, *report.impression]


def figures(cases: Sequence[Case], reports: Sequence[Sequence[Sentence]]) -> list[str]:
    """The table's numbers."""
    right = stated = present = hallucinated = 0
    for case, sentences in zip(cases, reports, strict=True):
        claims = [{word: says(s.text, word) for word in WORDS} for s in sentences]
        affirmed = {word for s in claims for word, how in s.items() if how == "affirmed"}
        right += len(affirmed & case.present)
        stated += len(affirmed)
        present += len(case.present)
        wrong = [any(is_wrong(word in case.present, s[word]) for word in WORDS) for s in claims]
        hallucinated += sum(wrong)
    texts = [" ".join(sentence.text for sentence in sentences) or "-" for sentences in reports]
    true = [case.report for case in cases]
    return [
        f"{right / max(1, stated):.2f}",
        f"{right / present:.2f}",
        f"{rouge_l(texts, true).mean():.2f}",
        f"{mean(len(sentences) for sentences in reports):.1f}",
        f"{hallucinated / len(reports):.2f}",
    ]


def is_wrong(present: bool, said: str) -> bool:
    """Whether a sentence says of a finding what is not so."""
    return said == ("denied" if present else "affirmed")


if __name__ == "__main__":
    typer.run(main)
