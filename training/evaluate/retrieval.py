"""Measures retrieval both ways: recall@k with identical texts grouped, precision@k by class.

Every number comes with its chance. Ties share their ranks, so a collapsed embedding scores chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from service.arrays import Bools, FloatArray
from training.evaluate.bootstrap import Counts, interval, means, patient_counts
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.result import Estimate, Measurement, NotMeasured

KS = (1, 5, 10)
CLASS_KS = (5, 10)
TIE = 1e-6
"""Cosines that differ by less count as equal. Their order depends on the machine's float32
arithmetic, for example for two reports that are equal up to the tower's context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Estimate):
    """Recall at k, with one query for each study."""

    k: int


def retrieval(test: EmbeddedPairs, labels: tuple[str, ...]) -> Measurement:
    """Returns recall@k of studies with a report, and precision@k of those with known findings."""
    rows = test.reported
    values: dict[str, Estimate] = {}
    notes: list[str] = []
    if len(rows):
        texts = [test.pairs.reports[row] for row in rows]
        patients = [test.patients[row] for row in rows]
        searches = {"image-to-report": image_to_report, "report-to-image": report_to_image}
        for name, search in searches.items():
            for recall in search(test.images[rows], test.reports, texts, patients):
                values[f"recall@{recall.k}/{name}"] = recall
    else:
        notes.append("no recall: no study has a report")
    findings = Findings.of(test.pairs.studies, labels)
    notes += (f"class precision, {note}" for note in findings.left_out())
    for name, precision in _class_precisions(test, findings):
        values[name] = precision
    if not any(name.startswith("precision") for name in values):
        notes.append("no class precision: too few studies are known to have one of the labels")
    if not values:
        raise NotMeasured("; ".join(notes))
    return Measurement(values=values, notes=tuple(notes))


def image_to_report(
    images: FloatArray,
    reports: FloatArray,
    texts: Sequence[str],
    groups: Sequence[str],
    *,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> list[Recall]:
    """Returns recall@k of images that search the distinct reports; their own report is correct.

    images, reports: unit float32[N,D], row i of both from the same study. texts: the N reports.
    groups: what is resampled together, the patients.
    """
    _, gallery, filed = np.unique(np.asarray(texts), return_index=True, return_inverse=True)
    correct = np.equal.outer(filed, np.arange(len(gallery)))
    return _recalls(images @ reports[gallery].T, correct, groups, ks, seed)


def report_to_image(
    images: FloatArray,
    reports: FloatArray,
    texts: Sequence[str],
    groups: Sequence[str],
    *,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> list[Recall]:
    """Returns recall@k of reports that search the images; those with the same text are correct.

    Arguments as in `image_to_report`.
    """
    _, filed = np.unique(np.asarray(texts), return_inverse=True)
    return _recalls(reports @ images.T, np.equal.outer(filed, filed), groups, ks, seed)


def precision_at(
    scores: FloatArray, relevant: Bools, eligible: Bools, k: int
) -> npt.NDArray[np.float64]:
    """Returns float64[Q]: the fraction of each query's first k eligible entries that are relevant.

    scores, relevant, eligible: [Q,G]. Entries with equal scores share the ranks they fill. NaN if
    fewer than k are eligible.
    """
    enough = eligible.sum(axis=1) >= k
    ranked, relevant = np.where(eligible, scores, -np.inf)[enough], relevant[enough]
    last = np.partition(ranked, -k, axis=1)[:, [-k]]
    before, alike = ranked > last + TIE, np.abs(ranked - last) <= TIE
    room = k - before.sum(axis=1)
    of_alike = (alike & relevant).sum(axis=1) / alike.sum(axis=1)
    shares = np.full(len(scores), np.nan)
    shares[enough] = ((before & relevant).sum(axis=1) + room * of_alike) / k
    return shares


def _recalls(
    scores: FloatArray, correct: Bools, groups: Sequence[str], ks: Sequence[int], seed: int
) -> list[Recall]:
    """Returns recall@k from [Q,G]: a query succeeds if a correct entry is among its first k."""
    counts = patient_counts(groups, seed=seed)
    size, right = scores.shape[1], correct.sum(axis=1)
    best = np.where(correct, scores, -np.inf).max(axis=1, keepdims=True)
    better, alike = (scores > best + TIE).sum(axis=1), np.abs(scores - best) <= TIE
    recalls = []
    for k in ks:
        hits = _drawn_one(alike.sum(axis=1), (alike & correct).sum(axis=1), k - better)
        low, high = interval(means(counts, hits))
        chance = float(_drawn_one(np.full_like(right, size), right, np.full_like(right, k)).mean())
        value = float(hits.mean())
        recalls.append(Recall(k=k, value=value, n=len(hits), low=low, high=high, chance=chance))
    return recalls


def _drawn_one(
    size: npt.NDArray[np.intp], right: npt.NDArray[np.intp], room: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Returns the chance that `room` of `size` entries, drawn at random, hold one of `right`."""
    none = hypergeom.pmf(0, size, right, np.clip(room, 0, size))
    return np.asarray(np.clip(1 - none, 0, 1))


def _class_precisions(test: EmbeddedPairs, findings: Findings) -> list[tuple[str, Estimate]]:
    """Returns precision@k, image → report and image → image.

    Two studies are alike if they share a label, or if neither has any. Studies of which a label is
    unknown neither search nor are found.
    """
    known: Bools = np.asarray(findings.known.all(axis=1))
    if not findings.there[known].any():  # all would be alike
        return []
    galleries = {"image-to-image": (np.arange(len(test.pairs)), test.images)}
    if len(test.reported):
        galleries["image-to-report"] = (test.reported, test.reports)
    patients = np.asarray(test.patients)
    counts = patient_counts(test.patients)
    queries = np.flatnonzero(known)
    precisions = []
    for name, (rows, vectors) in galleries.items():
        usable = known[rows]
        rows, vectors = rows[usable], vectors[usable]
        relevant = _alike(findings.there[queries], findings.there[rows])
        eligible = np.not_equal.outer(patients[queries], patients[rows])
        scores = test.images[queries] @ vectors.T
        precisions += [
            (f"precision@{k}/{name}", estimate)
            for k in CLASS_KS
            if (estimate := _precision(scores, relevant, eligible, k, counts[:, queries]))
        ]
    return precisions


def _alike(queries: Bools, gallery: Bools) -> Bools:
    """Returns bool[Q,G] from bool[Q,L] and bool[G,L]: whether two studies are alike."""
    share = queries.astype(np.float32) @ gallery.T.astype(np.float32) > 0
    neither = np.logical_and.outer(~queries.any(axis=1), ~gallery.any(axis=1))
    return np.asarray(share | neither)


def _precision(
    scores: FloatArray, relevant: Bools, eligible: Bools, k: int, counts: Counts
) -> Estimate | None:
    """Returns precision@k over the queries; None if no query has k eligible entries."""
    if scores.shape[1] < k:
        return None
    shares = precision_at(scores, relevant, eligible, k)
    answered = ~np.isnan(shares)
    if not answered.any():
        return None
    low, high = interval(means(counts[:, answered], shares[answered]))
    of_eligible = (relevant & eligible)[answered].sum(axis=1) / eligible[answered].sum(axis=1)
    return Estimate(
        value=float(shares[answered].mean()),
        n=int(answered.sum()),
        low=low,
        high=high,
        chance=float(of_eligible.mean()),
    )
