"""What the service's pipeline costs a language model that eight reports keep busy.

`python -m tests.benchmarks.report_throughput URL` (`make vllm-cpu` serves one) has eight reports of
new phantoms written at once, alternately through the pipeline and by calling the model with the
same prompts and nothing else. A report that is cut off is asked for again with twice the tokens, as
the pipeline does. It prints tokens a second as the server counts them, medians, and their ratio:
reports differ in length from run to run, since sums in a batch do not come in one order.
"""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx
import openai
import typer
from prometheus_client.parser import text_string_to_metric_families

from service.cases.ingest import ingest
from service.cases.sources import open_source
from service.deadline import Deadline
from service.reporting.background import read_background
from service.reporting.evidence import Subject
from service.reporting.evidence_set import EvidenceSet
from service.reporting.llm.server import RESPONSE_FORMAT, TEMPERATURE
from service.reporting.pipeline import Reporter
from service.reporting.prompt import Prompt
from service.reporting.report import ReportRequest
from service.reporting.writer import WritingTask
from service.settings import DEMO_LIBRARY, Settings
from service.wiring import open_services
from tests.benchmarks.reporting import AT_ONCE, PATIENCE_S, Case, K, made, said

MAX_TOKENS = 300


def main(
    llm_url: Annotated[str, typer.Argument(help="An OpenAI-compatible server")],
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Print the ratio; the first of each warms the server up and does not count."""
    client = openai.OpenAI(base_url=llm_url, api_key="none", max_retries=0, timeout=PATIENCE_S)
    model = client.models.list().data[0].id
    with TemporaryDirectory() as scratch:
        settings = Settings(
            data_dir=Path(scratch),
            llm_url=(llm_url,),
            llm_timeout_s=PATIENCE_S,
            llm_max_tokens=MAX_TOKENS,
        )
        with open_services(settings) as wired:
            ingest(wired.library, open_source(DEMO_LIBRARY).entries)
            reporter = wired.reporter
            cases = [made(reporter, number) for number in range(AT_ONCE)]
            prompts = [prompt_of(reporter, case) for case in cases]

            def direct(number: int) -> None:
                for max_tokens in (MAX_TOKENS, 2 * MAX_TOKENS):
                    stream = client.chat.completions.create(
                        model=model, messages=prompts[number], temperature=TEMPERATURE, seed=0,
                        stream=True, max_tokens=max_tokens, response_format=RESPONSE_FORMAT,
                    )  # fmt: skip
                    endings = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
                    if "length" not in endings:
                        return

            def ours(number: int) -> None:
                said(reporter, cases[number], cases[number])

            found_rates = defaultdict(list)
            for _ in range(rounds + 1):
                for name, one in (("direct", direct), ("pipeline", ours)):
                    before, start = tokens_written(llm_url), time.perf_counter()
                    with ThreadPoolExecutor(AT_ONCE) as pool:
                        list(pool.map(one, range(AT_ONCE)))
                    spent = time.perf_counter() - start
                    found_rates[name].append((tokens_written(llm_url) - before) / spent)
    rates = {name: median(each[1:]) for name, each in found_rates.items()}
    typer.echo(
        f"{AT_ONCE} at a time: {rates['direct']:.1f} tokens/s direct, {rates['pipeline']:.1f} "
        f"through the pipeline: {rates['pipeline'] / rates['direct']:.2f}; each time "
        f"{ {name: [round(rate, 1) for rate in each] for name, each in found_rates.items()} }"
    )


def prompt_of(reporter: Reporter, case: Case) -> list[dict[str, str]]:
    """The messages of the prompt that the pipeline sends for a case."""
    background = read_background(reporter.library, Subject())
    evidence = reporter.gather(case.vector, ReportRequest(k=K), background, Deadline(PATIENCE_S))
    classification = reporter.classifier(case.vector)
    task = WritingTask(EvidenceSet(evidence), (), classification, None, None, seed=0)
    return Prompt.of(task).messages()


def tokens_written(llm_url: str) -> float:
    """By the server since its start."""
    families = text_string_to_metric_families(
        httpx.get(llm_url.removesuffix("/v1") + "/metrics").text
    )
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "vllm:generation_tokens_total"
    )


if __name__ == "__main__":
    typer.run(main)
