"""Measures the time to a run's first optimiser step, compared with open_clip's own trainer.

`python -m tests.benchmarks.training_start` times whole processes, from their start to the end of
the first step, with one model, one batch size and the same JPEG files. open_clip reads them through
a CSV; `eclip-train` through a manifest, or from shards that were made before. The trainers take
turns; the figures are medians. open_clip's trainer needs pandas, which this project does not need:
`--python` names an interpreter with pandas and all that training needs.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import open_clip
from PIL import Image
from rich.console import Console
from rich.table import Table

from tests.support.paths import ROOT
from training.data.phantom import PhantomConfig, phantom
from training.data.shards import write_shards
from training.data.study import ManifestStudy, write_studies
from training.recipe import load_recipe
from training.run.models import image_input

COUNT, SIDE, BATCH, ROUNDS = 256, 512, 64, 7
NAME = "training-start"
FIRST_STEP = 7
"""Exit status of a process that has taken its first step."""
MODEL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
UNTIL_THE_FIRST_STEP = f"""
import os, sys
import open_clip
from torch.optim.optimizer import register_optimizer_step_post_hook
open_clip.add_model_config(sys.argv.pop(1))
register_optimizer_step_post_hook(lambda *_: os._exit({FIRST_STEP}))
"""
THEIRS = f"{UNTIL_THE_FIRST_STEP}from open_clip_train.main import main; main(sys.argv[1:])"
OURS = f"""{UNTIL_THE_FIRST_STEP}
from training.cli import main
sys.argv[1:] = ["fit", "own-pairs", sys.argv.pop(), *sys.argv[1:]]
main()
"""


def main() -> None:
    """Prints the table, or what is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=sys.executable)
    python = parser.parse_args().python
    out = Console()
    if subprocess.run(
        [python, "-c", "import open_clip_train.main"], capture_output=True
    ).returncode:
        out.print(f"{python} cannot import open_clip's trainer; does it have pandas?")
        sys.exit(1)
    with tempfile.TemporaryDirectory() as scratch:
        out.print(start_times(python, Path(scratch)))


def start_times(python: str, folder: Path) -> Table:
    """Returns a table of the seconds to the first step, and their ratio to open_clip's."""
    prepare(folder)
    whole = "data.fractions=[1, 0, 0]"
    shards = f"data={{source: shards, path: {folder / 'shards'}, fractions: [1, 0, 0]}}"
    commands = {
        "open_clip_train, csv": theirs(folder),
        "eclip-train, manifest": ours(folder, f"data.path={folder / 'studies.jsonl'}", whole),
        "eclip-train, shards": ours(folder, shards),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(ROUNDS + 1):
        for name, command in commands.items():
            seconds = run([python, "-c", *command, str(folder / f"{name} {turn}")])
            if turn:  # the first fills the disk's cache
                times[name].append(seconds)
    peer = statistics.median(times["open_clip_train, csv"])
    table = Table("trainer", "median, s", "least – most, s", "to open_clip_train")
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.2f} – {max(values):.2f}"
        table.add_row(name, f"{median:.2f}", spread, f"{median / peer:.2f}")
    return table


def theirs(folder: Path) -> list[str]:
    """Returns the command of open_clip's trainer, up to the folder that it writes in."""
    return [
        THEIRS, str(folder / "models"), "--model", NAME, "--train-data", str(folder / "pairs.csv"),
        "--dataset-type", "csv", "--batch-size", str(BATCH), "--epochs", "1", "--workers", "0",
        "--device", "cpu", "--precision", "fp32", "--lr", "5e-4", "--warmup", "1", "--logs",
    ]  # fmt: skip


def ours(folder: Path, *data: str) -> list[str]:
    """Our command, up to the folder that it writes in."""
    recipe = [
        f"model.name={NAME}",
        "optimiser.epochs=1",
        f"optimiser.batch_size={BATCH}",
        "run.loggers=[]",
        *data,
    ]
    return [OURS, str(folder / "models"), *recipe]


def run(command: list[str]) -> float:
    """Returns the seconds that a process takes."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.returncode == FIRST_STEP, done.stdout + done.stderr
    return seconds


def prepare(folder: Path) -> None:
    """Writes the model's config, and the pairs in each form."""
    for name in ("models", "images"):
        (folder / name).mkdir()
    (folder / "models" / f"{NAME}.json").write_text(json.dumps(MODEL))
    studies = [_save(folder, index) for index in range(COUNT)]
    write_studies(folder / "studies.jsonl", studies)
    with (folder / "pairs.csv").open("w") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(("filepath", "title"))
        table.writerows((folder / study.images[0], study.report) for study in studies)
    open_clip.add_model_config(folder / "models")
    spec = image_input(load_recipe("own-pairs", [f"model.name={NAME}"]).model)
    write_shards(studies, folder, folder / "shards", spec, None)


def _save(folder: Path, index: int) -> ManifestStudy:
    drawn = phantom(PhantomConfig(size=SIDE), index)
    name = f"images/{index}.jpg"
    Image.fromarray(drawn.image).save(folder / name, quality=90)
    return replace(drawn.study, images=(name,))


if __name__ == "__main__":
    main()
