"""Measures what the expert path costs, and how fast shards are read.

`python -m tests.benchmarks.training_speed` prints both. Candidates take turns; each figure is the
median over several rounds, with its ratio to a peer in the same run.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.optim import AdamW

from training.data.experts import Experts
from training.data.gaze import Sigma
from training.data.pairs import Pairs
from training.data.phantom import PhantomConfig, phantom
from training.data.rendering import phantom_pairs
from training.data.shards import open_shards, write_shards
from training.fit.objective import Contrastive
from training.fit.plan import Plan
from training.model.clip import from_config, image_spec
from training.model.expert_clip import ExpertCLIP
from training.model.heatmap import HeatmapProcessor
from training.model.tokenizer import learn
from training.model.views import expert_pixels
from training.recipe import ExpertSpec
from training.recipe.curriculum import ALWAYS, NEVER
from training.recipe.methods import METHODS, Method

MODEL, COUNT, BATCH, ROUNDS = "phantom-tiny", 512, 64, 15
EXPERTS = ExpertSpec(batch=16)
FILES, SIDE = 256, 512
SIGMA = Sigma(5.0, "pixel")


def main() -> None:
    """Prints both tables."""
    out = Console()
    out.print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    pairs = phantom_pairs(PhantomConfig(size=128), range(COUNT), image_spec(MODEL), SIGMA)
    out.print(step_times(pairs))
    out.print(loader_throughput())


def step_times(pairs: Pairs) -> Table:
    """Measures steps of clip and of other methods, with and without experts, and half of each."""
    arms = {
        "clip": (METHODS["clip"], NEVER),
        "eclip, no experts": (METHODS["eclip"], NEVER),
        "duplicate, experts": (METHODS["duplicate"], ALWAYS),
        "eclip, experts": (METHODS["eclip"], ALWAYS),
    }
    steps = {name: _stepper(pairs, *arm) for name, arm in arms.items()}
    seconds = _in_turns(steps)
    at_half = (seconds["eclip, no experts"] + seconds["eclip, experts"]) / 2
    seconds["eclip at p = 0.5"] = at_half
    duplicate = (seconds["eclip, no experts"] + seconds["duplicate, experts"]) / 2
    seconds["duplicate at p = 0.5"] = duplicate
    table = Table("arm", "ms a step", "to clip", "to duplicate at p = 0.5")
    for name, value in seconds.items():
        row = (f"{1000 * value:.1f}", f"{value / seconds['clip']:.2f}", f"{value / duplicate:.2f}")
        table.add_row(name, *row)
    return table


def _stepper(pairs: Pairs, method: Method, schedule: object) -> Callable[[], None]:
    torch.manual_seed(0)
    clip = from_config(MODEL, learn(pairs.reports, 640, 128))
    side = clip.image.height
    model = ExpertCLIP(clip, HeatmapProcessor((side, side)))
    experts = Experts.of(pairs, 1, "own", 0)
    chosen = replace(method, schedule=schedule)
    plan = Plan(pairs, experts, clip.tokenizer, chosen, 0, BATCH, EXPERTS, 100)
    optimizer, objective = AdamW(model.parameters(), lr=1e-4), Contrastive(clip.model)
    numbers = iter(range(plan.steps))

    def step() -> None:
        batch = plan.batch(next(numbers))
        pixels, tokens = batch.pixels, batch.tokens
        if batch.experts is not None:
            drawn, words, heatmaps, weight = batch.experts
            mixed = expert_pixels(chosen.view, model, drawn, heatmaps, weight)
            pixels, tokens = torch.cat([pixels.float(), mixed]), torch.cat([tokens, words])
        loss = objective(model.images(pixels), model.texts(tokens), clip.model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def loader_throughput() -> Table:
    """Measures images a second: plain JPEG decoding, shards, and whole batches."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "images").mkdir()
        studies = [_save(folder, index) for index in range(FILES)]
        files = [folder / study.images[0] for study in studies]
        spec = image_spec("phantom-tiny").model_copy(update={"height": 224, "width": 224})
        write_shards(studies, folder, folder / "shards", spec, SIGMA)
        pairs = open_shards(folder / "shards", (1.0, 0.0, 0.0), spec)("train")
        rng = np.random.default_rng(0)
        tokenizer = learn(pairs.reports, 640, 128)
        plan = Plan(pairs, None, tokenizer, METHODS["clip"], 0, BATCH, EXPERTS, 100)
        numbers = iter(range(plan.steps))
        candidates = {
            "plain JPEG decode, 512×512": lambda: _decode(files[:BATCH]),
            "JPEG decode and resize to 224×224": lambda: _decode(files[:BATCH], 224),
            "shards, 224×224, at random": lambda: pairs.images[rng.integers(0, FILES, BATCH)],
            "shards, whole batches with tokens": lambda: plan.batch(next(numbers)),
        }
        seconds = _in_turns(candidates)
    table = Table("reader", "images/s", "to plain decode")
    plain = seconds["plain JPEG decode, 512×512"]
    for name, value in seconds.items():
        table.add_row(name, f"{BATCH / value:.0f}", f"{plain / value:.2f}")
    return table


def _save(folder: Path, index: int) -> object:
    drawn = phantom(PhantomConfig(size=SIDE), index)
    name = f"images/{index}.jpg"
    Image.fromarray(drawn.image).save(folder / name, quality=90)
    return replace(drawn.study, images=(name,))


def _decode(files: list[Path], side: int | None = None) -> None:
    for path in files:
        image = Image.open(io.BytesIO(path.read_bytes())).convert("L")
        np.asarray(image.resize((side, side), Image.Resampling.BICUBIC) if side else image)


def _in_turns(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Returns median seconds of each, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS + 1):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    main()
