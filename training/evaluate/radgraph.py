"""Scores reports by RadGraph F1: the F1 of the entities that two reports name.

Delbrouck et al. 2022, arXiv 2210.12186, at the levels simple, partial and complete. Two things are
not as RadEval leaves them:

- **Case.** It compares entities with their case, so that "Effusion" is not "effusion", but the
  words of relations without. Both reports are in lower case here before they are annotated.
- **Nothing to compare.** It gives 0 where neither report names an entity. There the F1 is 0/0, and
  the definition has no value for it: the study is left out, and a note counts such studies.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from service.arrays import Bools
from training.evaluate.result import Estimate

ByStudy = Callable[..., dict[str, list[float]]]
"""Takes `refs` and `hyps`, N texts each; returns {level: N scores}."""


def radgraph_scores(
    by_study: ByStudy, retrieved: Sequence[str], blind: Sequence[str], true: Sequence[str]
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    """Returns the mean of each level, with that of the blind reports as chance, and a note.

    Without a study to compare, there is no number but the note.
    """
    scores, compared = _scored(by_study, _lower(retrieved), _lower(true))
    chances, guessed = _scored(by_study, _lower(blind), _lower(true))
    left_out = int((~compared).sum())
    note = (f"radgraph, left out: {left_out} studies in which neither report names an entity",)
    if not compared.any():
        return {}, note
    return {
        level: Estimate(
            value=float(values[compared].mean()),
            n=int(compared.sum()),
            chance=float(chances[level][guessed].mean()) if guessed.any() else None,
        )
        for level, values in scores.items()
    }, note * bool(left_out)


def _scored(
    by_study: ByStudy, texts: list[str], true: list[str]
) -> tuple[dict[str, npt.NDArray[np.float64]], Bools]:
    """Returns {level: float64[N]} of N pairs, and bool[N]: whether a pair names any entity.

    A text without an entity scores 0 against itself. Only pairs that score 0 are asked for it.
    """
    scores = {level: np.array(values) for level, values in by_study(refs=true, hyps=texts).items()}
    named = np.any(list(scores.values()), axis=0)
    if rows := np.flatnonzero(~named).tolist():
        alone = [reports[row] for reports in (texts, true) for row in rows]
        names_one = np.any(list(by_study(refs=alone, hyps=alone).values()), axis=0)
        named[rows] = names_one.reshape(2, -1).any(axis=0)
    return scores, named


def _lower(texts: Sequence[str]) -> list[str]:
    return [text.lower() for text in texts]
