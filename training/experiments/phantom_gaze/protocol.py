"""Defines what is run, as PREREGISTRATION.md and its amendments say."""

from pathlib import Path

from training.experiments.cells import Overrides, Part, Protocol

HERE = Path(__file__).parent
WELL_PRIMED = "expert.primed_first=1200"


def _methods(*names: str) -> dict[str, Overrides]:
    return {name: (f"method={name}",) for name in names}


def _primed(method: str) -> Overrides:
    return f"method={method}", WELL_PRIMED


def _at(share: int, *methods: str) -> dict[str, Overrides]:
    return {
        f"{method} at {share} %": (f"method={method}", f"expert.share={share / 100}")
        for method in methods
    }


MAIN = Part(
    _methods("clip", "duplicate", "shuffled_gaze", "eclip")
    | {
        "shuffled_gaze_primed": _primed("shuffled_gaze"),
        "eclip_primed": _primed("eclip"),
    },
    range(1, 16),
)
SECONDARY = Part(
    _methods(
        "naive",
        "dacl",
        "mean_gaze",
        "eclip_no_curriculum",
        "eclip_no_priming",
        "eclip_hard_mask",
        "oracle",
    ),
    range(1, 9),
)
DOSES = Part(
    {
        f"eclip, {dose} % misplaced": ("method=eclip", f"expert.misplaced={dose / 100}")
        for dose in (25, 50, 75)
    },
    range(1, 9),
)
SHARES = Part(
    _at(1, "duplicate", "shuffled_gaze", "eclip") | _at(10, "duplicate", "shuffled_gaze", "eclip"),
    range(1, 9),
)
GUIDED = ("duplicate", "duplicate_always", "shuffled_attention", "gaze_attention")
GUIDANCE = Part(_methods(*GUIDED), range(101, 121))
CONFIRMATION = Part(_methods(*GUIDED), range(201, 221))
REPLICATION = Part(_methods(*GUIDED), range(301, 331))
GUIDANCE_SECONDARY = Part(_methods("mean_attention", "oracle_attention"), range(101, 109))
PROTOCOL = Protocol(
    HERE / "recipe.yaml",
    (),
    {
        "main": MAIN,
        "guidance": GUIDANCE,
        "confirmation": CONFIRMATION,
        "replication": REPLICATION,
        "secondary": SECONDARY,
        "doses": DOSES,
        "shares": SHARES,
        "guidance_secondary": GUIDANCE_SECONDARY,
    },
)
SMOKE = PROTOCOL.smaller(
    2, "data.train=400", "data.test=200", "optimiser.epochs=4", "expert.share=0.2"
)
