"""Does grounding tell what follows from a passage? On pairs whose truth is known beforehand.

`python -m tests.benchmarks.grounding` pairs phantoms' sentences: a finding's conclusion with an
observation of the same finding in other words, and with what it does not say: denied, on the other
side, at another level, of another severity, of another finding; and denials with denials. With
STUDIES (`eclip-train data open_i`) it also pairs their passages with rewordings of themselves, and
with themselves denied, swapped in side or changed in severity by plain edits of the text, and with
passages of other patients that share no word of weight with them.

It then takes 500 sentences of each source that add or change one word, number, date or name of a
passage, beside the untouched passages and honest rewordings (`tests.benchmarks.perturbations`).
`--half design` takes those that the rules were written with.

For each kind it prints how often the statement is called supported and contradicted, and for each
source the precision and recall of `supported`, beside those of the text tower's cosine alone at the
threshold that serves it best on these very pairs.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from service.cases.passages import split_report
from service.cases.sources import open_source
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.reporting.statements import Statement, compare
from service.settings import Settings
from service.wiring import open_services
from tests.benchmarks.perturbations import HALVES, Pair, detailed, perturbed
from training.data.phantom.findings import (
    GLOBAL,
    LABELS,
    LEVELS,
    SEVERITIES,
    SIDES,
    ZONES,
    PhantomFinding,
    possible_zones,
)
from training.data.phantom.report import write_report

PATIENCE_S, SEED, REPORTS, MOST = 600.0, 0, 3, 1000
DEGREES = (("small", "large"), ("mild", "severe"), ("minimal", "marked"), ("mildly", "severely"))
_DENIAL = re.compile(
    r"\b(?:no|not|without|none|clear|normal|unremarkable|intact|free)\b|limits", re.IGNORECASE
)
_NO = re.compile(r"(?:No evidence of|There is no|There are no|No) ([^.;:]+?)(?: is seen)?\.")
_WEIGHTY = re.compile(r"[a-z]{5,}")


def main(
    studies: Annotated[Path | None, typer.Argument(exists=True, help="Real reports")] = None,
    half: Annotated[str, typer.Option(help=f"Perturbed sentences: {HALVES}")] = "report",
    wrong: Annotated[bool, typer.Option(help="Print what is judged wrongly")] = False,
) -> None:
    """Print the tables for phantoms, and for the studies where there are some."""
    sources = {"phantoms": [*of_phantoms(np.random.default_rng(SEED))]}
    made = sorted({pair.passage for pair in sources["phantoms"]})
    made += detailed(random.Random(SEED), half, len(made))
    sources["phantoms, perturbed"] = [*perturbed(made, half, SEED)]
    if studies is not None:
        name, texts = studies.parent.name, texts_of(studies)
        sources[name] = [*of_reports(texts, random.Random(SEED))]
        sources[f"{name}, perturbed"] = [*perturbed(texts, half, SEED)]
    with TemporaryDirectory() as scratch, open_services(Settings(data_dir=Path(scratch))) as wired:
        for name, pairs in sources.items():
            show(name, pairs, wired.encoder, wrong)


def of_phantoms(rng: np.random.Generator) -> Iterator[Pair]:
    """Every label with every severity and zone, each observed in several wordings."""
    for label, severity in product(LABELS, SEVERITIES):
        zones = [None] if label in GLOBAL else possible_zones(label, list(ZONES))
        for zone in zones:
            finding = PhantomFinding(label, severity, zone, 0.0, 0.0, 0.0, 0.0)
            for _ in range(REPORTS):
                yield from of_finding(rng, finding)
    denials = sorted({sentence for _ in range(REPORTS * 20) for sentence in denied(rng)})
    for one, other in rng.permutation([*product(denials, denials)])[:MOST].tolist():
        if one != other:
            follows = nouns(one) <= nouns(other)
            yield Pair("denial" if follows else "other denial", one, other, follows)


def nouns(denial: str) -> set[str]:
    """What a sentence that only denies denies."""
    return {*re.split(r", | or ", _NO.fullmatch(denial)[1])}


def of_finding(rng: np.random.Generator, finding: PhantomFinding) -> Iterator[Pair]:
    """Its conclusion, and those of findings that differ in one thing, beside its observation."""
    passage, conclusion = written(rng, finding)
    yield Pair("reworded", conclusion, passage, True)
    yield Pair("negated", f"No {finding.label}.", passage, False)
    yield Pair("of a denial", conclusion, f"No {finding.label}.", False)
    for kind, differing in variants(finding):
        yield Pair(kind, written(rng, differing)[1], passage, False)


def variants(finding: PhantomFinding) -> Iterator[tuple[str, PhantomFinding]]:
    """Findings that differ in one thing, where they can."""
    for severity in SEVERITIES:
        if severity != finding.severity:
            yield "severity", replace(finding, severity=severity)
    if finding.zone:
        own_side, own_level = finding.zone.split()
        for side, level in product(SIDES, LEVELS):
            zone = f"{side} {level}"
            if zone not in possible_zones(finding.label, list(ZONES)):
                continue
            if side != own_side and level == own_level:
                yield "laterality", replace(finding, zone=zone)
            elif side == own_side and level != own_level:
                yield "level", replace(finding, zone=zone)
    for label in LABELS:
        if label != finding.label and finding.zone and label not in GLOBAL:
            yield "other finding", replace(finding, label=label)


def written(rng: np.random.Generator, finding: PhantomFinding) -> tuple[str, str]:
    """(the sentence that observes it, the one that concludes it)."""
    passages = split_report(write_report(rng, (finding,)), "")
    word = finding.label.split()[-1]
    (observed,) = (
        p.text
        for p in passages
        if p.section == "findings" and word in p.text.lower() and not _DENIAL.search(p.text)
    )
    return observed, passages[-1].text


def denied(rng: np.random.Generator) -> list[str]:
    """What a report of a healthy phantom denies."""
    passages = split_report(write_report(rng, ()), "")
    return [p.text for p in passages if p.section == "findings" and _NO.fullmatch(p.text)]


def texts_of(studies: Path) -> list[str]:
    """The distinct passages of all reports."""
    texts = {
        passage.text
        for entry in open_source(studies).entries
        for passage in split_report(entry.study.record.report or "", "")
        if passage.section in ("findings", "impression")
    }
    return sorted(texts)


def of_reports(texts: list[str], rng: random.Random) -> Iterator[Pair]:
    """At most so many of each kind."""
    passages = rng.sample(texts, len(texts))
    counts: dict[str, int] = {}
    for passage, other in zip(passages, [*passages[1:], passages[0]], strict=True):
        for pair in [*edited(passage), *unrelated(passage, other)]:
            counts[pair.kind] = counts.get(pair.kind, 0) + 1
            if counts[pair.kind] <= MOST:
                yield pair


def edited(passage: str) -> Iterator[Pair]:
    """Rewordings of a passage, and what it does not say, by edits whose effect is plain."""
    denial = _NO.fullmatch(passage)
    if denial and "," not in denial[1]:
        noun = denial[1]
        for reworded in (f"There is no {noun}.", f"No evidence of {noun}.", f"No {noun} is seen."):
            if reworded != passage:
                yield Pair("reworded", reworded, passage, True)
        yield Pair("negated", f"There is {noun}.", passage, False)
    if _DENIAL.search(passage):
        return
    subject = re.fullmatch(r"(?:There is |There are )(?:an? )?(.+)\.", passage)
    if subject and "," not in passage:
        yield Pair("reworded", f"{subject[1][0].upper()}{subject[1][1:]}.", passage, True)
        yield Pair("negated", f"There is no {subject[1]}.", passage, False)
    sides = re.findall(r"\b(?:left|right)\b", passage, re.I)
    if len(sides) == 1:
        other = {"left": "right", "right": "left"}[sides[0].lower()]
        swapped = passage.replace(sides[0], other.capitalize() if sides[0].istitle() else other)
        yield Pair("laterality", swapped, passage, False)
    for pair in DEGREES:
        for degree, changed in (pair, pair[::-1]):
            if len(re.findall(rf"\b{degree}\b", passage)) == 1:
                worded = re.sub(rf"\b{degree}\b", changed, passage)
                yield Pair("severity", worded, passage, False)


def unrelated(passage: str, other: str) -> Iterator[Pair]:
    """Another patient's sentence, where the two share no word of five letters or more."""
    if not {*_WEIGHTY.findall(passage.lower())} & {*_WEIGHTY.findall(other.lower())}:
        yield Pair("other patient", other, passage, False)


def show(name: str, pairs: list[Pair], encoder: Encoder, wrong: bool) -> None:
    """What each kind of pair is called, and how well that, or the cosine, tells them apart."""
    texts = sorted({text for pair in pairs for text in (pair.statement, pair.passage)})
    matrix = encoder.text_matrix(texts, Deadline(PATIENCE_S))
    row = {text: number for number, text in enumerate(texts)}
    cosines = np.array([matrix[row[p.statement]] @ matrix[row[p.passage]] for p in pairs])
    stated = {text: Statement.of(text) for text in texts}
    verdicts = [
        compare(stated[pair.statement], stated[pair.passage], float(cosine))[0]
        for pair, cosine in zip(pairs, cosines, strict=True)
    ]
    for pair, verdict in zip(pairs, verdicts, strict=True):
        if wrong and pair.follows != (verdict == "supported"):
            print(f"{pair.kind}: {pair.statement} | {pair.passage}")  # noqa: T201
    table = Table("kind", "follows", "pairs", "supported", "contradicted", title=name)
    for kind in dict.fromkeys(pair.kind for pair in pairs):
        own = [(p, v) for p, v in zip(pairs, verdicts, strict=True) if p.kind == kind]
        shares = [
            f"{np.mean([v == verdict for _, v in own]):.3f}"
            for verdict in ("supported", "contradicted")
        ]
        table.add_row(kind, "yes" if own[0][0].follows else "no", str(len(own)), *shares)
    Console().print(table)
    follows = np.array([pair.follows for pair in pairs])
    of_rules = scores(np.array(verdicts) == "supported", follows)
    thresholds = np.quantile(cosines, np.linspace(0, 1, 201))
    best = max((scores(cosines >= least, follows) for least in thresholds), key=f1)
    for who, (precision, recall) in {"grounding": of_rules, "cosine alone": best}.items():
        Console().print(f"{who}: precision {precision:.3f}, recall {recall:.3f}")


def scores(called: np.ndarray, follows: np.ndarray) -> tuple[float, float]:
    """(precision, recall) of what is called so."""
    right = np.sum(called & follows)
    return float(right / max(1, called.sum())), float(right / follows.sum())


def f1(of: tuple[float, float]) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * of[0] * of[1] / max(1e-9, sum(of))


if __name__ == "__main__":
    typer.run(main)
