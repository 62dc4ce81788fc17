"""What reports say, with and without retrieval and grounding, and what they cost.

`python -m tests.benchmarks.reporting` asks for reports of new phantoms from the demo library. It
prints

* milliseconds (p50) of each step but the language model's: evidence, extractive writing, grounding;
* by writer and evidence (the radiograph's own, or that of another radiograph: no retrieval), all
  sentences and those that grounding keeps: precision and recall of the findings that phantoms have,
  ROUGE-L against their own reports, sentences a report, and how many of them are hallucinated:
  state a finding that the phantom has not, or deny one that it has.

With `--llm-url` (`make vllm-cpu`) a language model writes too, eight reports at a time, and its
throughput through the service's own pipeline is told beside that of calling it with the same
prompts and nothing else.
"""

import io
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
import openai
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.app import open_services
from service.cases.ingest import Outcome, ingest
from service.cases.schema import Vector
from service.cases.sources import open_source
from service.errors import ReportUngrounded
from service.inference.batching import Deadline
from service.reporting import extractive
from service.reporting.evidence import said_once
from service.reporting.grounding import Grounding, Sentence
from service.reporting.llm import REPORT, TEMPERATURE
from service.reporting.pipeline import Reporter, whole
from service.reporting.prompt import messages
from service.reporting.report import ReportRequest
from service.settings import DEMO_LIBRARY, Settings
from tests.benchmarks.negation import says
from training.data.phantom import Phantom, PhantomConfig, phantom
from training.data.phantom.findings import LABELS
from training.evaluate.reports import rouge_l

UNSEEN_SEED = 9100
"""Of a phantom data set that neither the demo's model nor its library has seen."""
PATIENCE_S, AT_ONCE = 3600.0, 8
K, MAX_TOKENS = 4, 1600
"""Prompt and the longest report that the schema allows are within 4,096 tokens."""


@dataclass(frozen=True)
class Case:
    """A phantom and the embedding of its radiograph."""

    phantom: Phantom
    vector: Vector


def main(
    cases: Annotated[int, typer.Option(min=2)] = 32,
    llm_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of the throughput")] = 3,
) -> None:
    """Print the three tables."""
    with TemporaryDirectory() as scratch:
        settings = Settings(
            data_dir=Path(scratch),
            llm_url=(llm_url,) if llm_url else (),
            llm_timeout_s=PATIENCE_S,
            llm_max_tokens=MAX_TOKENS,
        )
        with open_services(settings) as wired:
            ingest(wired.library, open_source(DEMO_LIBRARY).entries, Outcome())
            reporter = wired.reporter
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
            if llm_url:
                show_throughput(reporter, asked[:AT_ONCE], llm_url, rounds)


def made(reporter: Reporter, number: int) -> Case:
    """An unseen phantom, encoded as an upload would be."""
    one = phantom(PhantomConfig(seed=UNSEEN_SEED), number)
    file = io.BytesIO()
    Image.fromarray(one.image).save(file, "PNG")
    encoded = reporter.encoder.image(file.getvalue(), Deadline(PATIENCE_S))
    return Case(one, encoded.vector)


def show_steps(reporter: Reporter, asked: Sequence[Case]) -> None:
    """Each step for each case, after one for warming up; sentences are those of the consensus."""
    taken = defaultdict(list)
    for case in [asked[0], *asked]:
        deadline = Deadline(PATIENCE_S)
        marks = [time.perf_counter()]
        evidence = reporter.gather(case.vector, ReportRequest(), deadline)
        marks.append(time.perf_counter())
        findings, impression = extractive.write(evidence, reporter.encoder, deadline)
        marks.append(time.perf_counter())
        seen = reporter.classifier(case.vector)
        Grounding(evidence, seen, reporter.encoder, deadline).check([*findings, *impression])
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
        table.add_row(name, evidence, label, *figures([c.phantom for c in asked], kept), failed)


def said(writer: Reporter, case: Case, source: Case) -> list[Sentence] | None:
    """What is written of a case from the evidence that another, or itself, finds; None where the
    model gives no report, even when asked twice.
    """
    deadline = Deadline(PATIENCE_S)
    request = ReportRequest(k=K, ungrounded="flag")
    evidence = writer.gather(source.vector, request, deadline)
    try:
        report = whole(writer.write(case.vector, evidence, request, deadline))
    except ReportUngrounded:
        return None
    return [*report.findings, *report.impression]


def figures(phantoms: Sequence[Phantom], reports: Sequence[Sequence[Sentence]]) -> list[str]:
    """The table's numbers."""
    right = stated = present = hallucinated = 0
    for one, sentences in zip(phantoms, reports, strict=True):
        truth = {finding.label for finding in one.findings}
        claims = [{label: says(s.text, label.split()[-1]) for label in LABELS} for s in sentences]
        affirmed = {label for s in claims for label, how in s.items() if how == "affirmed"}
        right += len(affirmed & truth)
        stated += len(affirmed)
        present += len(truth)
        wrong = [any(is_wrong(label in truth, s[label]) for label in LABELS) for s in claims]
        hallucinated += sum(wrong)
    texts = [" ".join(sentence.text for sentence in sentences) or "-" for sentences in reports]
    true = [one.study.report for one in phantoms]
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


def show_throughput(reporter: Reporter, asked: Sequence[Case], url: str, rounds: int) -> None:
    """Reports a second, eight at a time, alternating; what comes first warms the server up."""
    prompts = [
        messages(said_once(reporter.gather(c.vector, ReportRequest(k=K), Deadline(60))), None, None)
        for c in asked
    ]
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=PATIENCE_S)
    model = client.models.list().data[0].id

    def direct(number: int) -> None:
        stream = client.chat.completions.create(
            model=model, messages=prompts[number], temperature=TEMPERATURE, seed=0, stream=True,
            max_tokens=MAX_TOKENS, response_format=REPORT,
        )  # fmt: skip
        for _ in stream:
            pass

    def ours(number: int) -> None:
        said(reporter, asked[number], asked[number])

    taken = defaultdict(list)
    for _ in range(rounds + 1):
        for name, one in (("direct", direct), ("pipeline", ours)):
            start = time.perf_counter()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(one, range(len(asked))))
            taken[name].append(time.perf_counter() - start)
    rates = {name: len(asked) / median(times[1:]) for name, times in taken.items()}
    Console().print(
        f"{AT_ONCE} at a time: {rates['direct']:.3f} reports/s direct, {rates['pipeline']:.3f} "
        f"through the pipeline: {rates['pipeline'] / rates['direct']:.2f}"
    )


if __name__ == "__main__":
    typer.run(main)
