"""Defines what is run, as PREREGISTRATION.md and its amendments say."""

from pathlib import Path

from training.experiments import phantom_gaze
from training.experiments.cells import Overrides, Part, Protocol

HERE = Path(__file__).parent
RESULTS = HERE / "results.parquet"
GUIDED = ("duplicate_always", "shuffled_attention", "gaze_attention")
"""The arms whose contrasts are primary: extra pairs alone, other images' gaze, the image's own."""


def _methods(*names: str) -> dict[str, Overrides]:
    return {name: (f"method={name}",) for name in names}


def _at(share: int) -> dict[str, Overrides]:
    return {
        f"{method} at {share} %": (f"method={method}", f"expert.share={share / 100}")
        for method in GUIDED
    }


MAIN = Part(_methods("clip", *GUIDED), range(1001, 1021))
OTHERS = Part(
    _methods("oracle_attention", "mean_attention", "eclip", "shuffled_gaze"), range(1001, 1021)
)
DOSES = Part(
    {
        f"gaze_attention, {dose} % misplaced": (
            "method=gaze_attention",
            f"expert.misplaced={dose / 100}",
        )
        for dose in (25, 50, 75)
    },
    range(1001, 1009),
)
SHARES = Part(_at(1) | _at(10), range(1001, 1009))
READER = Part(
    {
        f"{method}, measured reader": (f"method={method}", "data.reader=measured")
        for method in GUIDED[1:]
    },
    range(1001, 1009),
)
PROTOCOL = Protocol(
    Path(phantom_gaze.__file__).parent / "recipe.yaml",
    ("name=phantom-localisation", "data.validation=200"),
    {"main": MAIN, "others": OTHERS, "doses": DOSES, "shares": SHARES, "reader": READER},
)
SMOKE = PROTOCOL.smaller(
    2,
    "data.train=192",
    "data.validation=64",
    "data.test=96",
    "optimiser.epochs=2",
    "expert.share=0.2",
)
