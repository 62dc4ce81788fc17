"""Defines what is run, as PREREGISTRATION.md and its amendments say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from training.data.phantom import PhantomConfig, fingerprint
from training.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
PHANTOM_SEEDS = 40_000
"""Seed s has phantoms of its own, those of data set 40,000 + s."""
PHANTOMS = PhantomConfig(size=64, seed=PHANTOM_SEEDS, contrast=1.5)
FINGERPRINT = "bfe2d3eb260ed53c4c0aecfc9c3a9b83e7461cad20a8d546c7b5cedd82dc5f54"
"""sha256 of PHANTOMS as they were frozen. With another, the results would be of other phantoms."""
WELL_PRIMED = "expert.primed_first=1200"
Overrides = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Arms that are compared on the same seeds. arms: name → overrides of the recipe."""

    arms: Mapping[str, Overrides]
    seeds: range


@dataclass(frozen=True)
class Cell:
    """One arm on one seed."""

    part: str
    arm: str
    seed: int
    overrides: Overrides

    @property
    def key(self) -> tuple[str, str, int]:
        """The cell's part, arm and seed, which no other cell has."""
        return self.part, self.arm, self.seed


@dataclass(frozen=True)
class Protocol:
    """A recipe and the parts that are run with it."""

    recipe: Overrides
    """Overrides of recipe.yaml that all cells share."""
    parts: Mapping[str, Part]

    def check_frozen(self) -> None:
        """Raises RuntimeError if this code draws other phantoms than those that were frozen."""
        if fingerprint(PHANTOMS) != FINGERPRINT:
            raise RuntimeError(
                "this code does not draw the phantoms of the pre-registration; run the commit that "
                "froze them, or another version of NumPy"
            )

    def cells(self, part: str) -> Iterator[Cell]:
        """Yields the cells of a part, seed by seed, so that it is balanced wherever it stops."""
        for seed in self.parts[part].seeds:
            for arm, overrides in self.parts[part].arms.items():
                yield Cell(part, arm, seed, overrides)

    def recipe_of(self, cell: Cell, cache: Path) -> Recipe:
        """Returns the recipe of one cell. Phantoms are kept in `cache`."""
        own = (
            f"seed={cell.seed}",
            f"data.seed={PHANTOM_SEEDS + cell.seed}",
            f"data.cache={cache}",
        )
        return load_recipe(str(HERE / "recipe.yaml"), [*self.recipe, *cell.overrides, *own])

    def smaller(self, seeds: int, *recipe: str) -> Self:
        """Returns the protocol with fewer seeds and a smaller recipe, to see that it runs."""
        parts = {name: replace(part, seeds=part.seeds[:seeds]) for name, part in self.parts.items()}
        return replace(self, recipe=recipe, parts=parts)


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
