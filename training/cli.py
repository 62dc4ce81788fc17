"""eclip-train: data | shards | fit | evaluate | export | demo."""

import logging
import sys
import tempfile
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from service.bundle.labels import LabelSets
from service.errors import EclipError
from training.data.gather import (
    MODEL,
    Summary,
    gather,
    place,
    summarise,
    with_gaze,
    write_manifests,
)
from training.data.manifest import read_manifest
from training.data.sources import SOURCES
from training.data.study import DataError
from training.data.subsets import SUBSETS, choose
from training.evaluate.calibration import calibrate_sets
from training.evaluate.compare import Disagreement, check_agreement, largest
from training.evaluate.encode import Embedded, TorchEncoder
from training.evaluate.evaluation import Evaluation, validation_pairs
from training.evaluate.page import PAGE, write
from training.evaluate.result import COLUMNS, Result
from training.evaluate.suite import MEASURES
from training.export import ParityError, export, make_room
from training.int8 import with_int8
from training.model.clip import WeightsIgnored, from_open_clip
from training.model.tokenizer import TokenizerMismatch
from training.recipe import CONFIGS, Manifest, RecipeError, load_recipe
from training.record import last_measured
from training.trainer import RECIPE, load_run

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
out = Console()
DEMO = Path("service/demo")


def main() -> None:
    """Run the command line; what a user can mend is one line, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\.")  # a resumed run has files
    try:
        cli()
    except (
        DataError,
        RecipeError,
        ParityError,
        TokenizerMismatch,
        WeightsIgnored,
        Disagreement,
        FileExistsError,
        FileNotFoundError,
        EclipError,
    ) as error:
        Console(stderr=True).print(f"[red]{type(error).__name__}:[/red] {error}", highlight=False)
        sys.exit(1)
    except ValidationError as error:
        Console(stderr=True).print(f"[red]Recipe:[/red] {error}", highlight=False)
        sys.exit(1)


@cli.command()
def data(
    name: Annotated[str, typer.Argument(help=", ".join(SOURCES))],
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="As downloaded")],
    destination: Annotated[Path, typer.Option("--out", help="Folder to write")],
    subset: Annotated[
        str | None, typer.Option(help=f"{', '.join(SUBSETS)}, or a file with an id a line")
    ] = None,
    gaze: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A manifest with gaze on these images"),
    ] = None,
) -> None:
    """Bring a published data set into one form: images, studies.parquet and studies.jsonl."""
    if name not in SOURCES:
        raise typer.BadParameter(f"there are {', '.join(SOURCES)}", param_hint="NAME")
    found = track(SOURCES[name](root), "Reading", total=None, console=out)
    studies, skipped = gather(found)
    if subset is not None:
        studies = choose(subset, name, studies)
    if gaze is not None:
        studies = with_gaze(studies, read_manifest(gaze))
    if not studies:
        raise DataError(f"no study of {name} lies in {root} (skipped: {_counts(skipped)})")
    images = [image for study in studies for image in study.images]
    for image in track(images, "Copying", console=out):
        place(root / image, destination / image)
    write_manifests(destination, studies)
    _show_summary(summarise(studies), skipped)


@cli.command()
def shards(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or path")],
    destination: Annotated[Path, typer.Argument(help="Folder to write; run again to resume")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value …")] = None,
) -> None:
    """Prepare a recipe's manifest for its model once, as webdataset shards, on every core."""
    from training.data.shards import write_shards
    from training.trainer import image_input

    chosen = load_recipe(recipe, overrides or [])
    if not isinstance(chosen.data, Manifest):
        raise RecipeError("shards are made of a manifest; set data.path to a studies.parquet")
    path = chosen.data.path
    with Progress(console=out) as progress:
        task = progress.add_task("Shards", total=None)
        written = write_shards(
            read_manifest(path),
            path.parent,
            destination,
            image_input(chosen),
            chosen.expert.sigma,
            lambda: progress.advance(task),
        )
    out.print(
        f"{written.pairs} images in {written.shards} shards, of which {written.kept} lay there "
        f"already; unreadable: {_counts(written.unread)}"
    )


@cli.command()
def fit(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or path")],
    run: Annotated[Path, typer.Argument(help="Run directory; one that exists is resumed")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value …")] = None,
) -> None:
    """Train a recipe; stop it at will and run the same command to resume."""
    from training import trainer

    trainer.fit(load_recipe(recipe, overrides or []), run)
    out.print(f"Trained. Next: eclip-train export {run} BUNDLE")


@cli.command()
def evaluate(
    source: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A bundle, or a run directory")
    ],
    manifest: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="studies.parquet or .jsonl")
    ],
    train_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Left out, by patient, where no split is published; else as it was trained",
        ),
    ] = None,
    suite: Annotated[str, typer.Option(help=f"{','.join(MEASURES)}, or all")] = "retrieval",
    labels: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="labels.json; else the bundle's own"),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A bundle or run that should be the same"),
    ] = None,
    destination: Annotated[
        Path | None, typer.Option("--out", help="Folder for metrics.json and report.html")
    ] = None,
) -> None:
    """Measure a bundle or a run on studies: each number beside its interval and its chance."""
    measures = tuple(MEASURES) if suite == "all" else tuple(suite.split(","))
    result = Evaluation(manifest, train_share, measures, labels)(source, against)
    _show_result(result)
    if destination is not None:
        write(result, destination)
        out.print(f"Written: {destination / PAGE}")
    if against is not None:
        check_agreement(result.differences[against.name])


@cli.command(name="export")
def export_bundle(
    source: Annotated[
        str, typer.Argument(help="A run directory, or a model as open_clip names it")
    ],
    directory: Annotated[Path, typer.Argument(help="Where to write the bundle")],
    pretrained: Annotated[
        str | None, typer.Option(help="open_clip weights tag or checkpoint path")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name")] = None,
    version: Annotated[str, typer.Option()] = "1",
    labels: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="labels.json with prompts")
    ] = CONFIGS / "chexpert.labels.json",
    reducing_gap: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=8,
            help="Of an open_clip model: shrink large images to so many times its input first",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="A manifest, or a run, on whose validation split probabilities are fitted, and "
            "int8 graphs admitted",
        ),
    ] = None,
) -> None:
    """Write a parity-checked bundle from a run or from any open_clip model."""
    make_room(directory)
    run, recipe = Path(source), None
    metrics: dict[str, float] = {}
    if (run / RECIPE).is_file():
        if reducing_gap is not None:
            raise RecipeError("a run's reducing_gap is its recipe's: it was trained with it")
        recipe, clip = load_run(run)
        default_name = recipe.name
        metrics = last_measured(run)
    else:
        clip, default_name = from_open_clip(source, pretrained), source.split("/")[-1]
        clip = clip.with_reducing_gap(reducing_gap)
    label_sets = LabelSets.model_validate_json(labels.read_bytes())
    write_bundle = partial(
        export, clip, name=name or default_name, bundle_version=version, metrics=metrics
    )
    if validation is None:
        bundle = write_bundle(directory, label_sets=label_sets)
    else:
        pairs = validation_pairs(validation, clip.image, recipe)
        embedded = Embedded(TorchEncoder(clip), pairs)
        label_sets, left = calibrate_sets(embedded, label_sets)
        for label, reason in left.items():
            out.print(f"not calibrated: {label} ({reason})", markup=False)
        with tempfile.TemporaryDirectory() as scratch:
            draft = write_bundle(
                Path(scratch) / "bundle",
                label_sets=label_sets,
                image_mean=embedded.images.mean(axis=0),
            )
            bundle = with_int8(draft, directory, label_sets, pairs)
    difference = bundle.manifest.provenance["parity_max_abs_difference"]
    out.print(
        f"{directory}: bundle {bundle.manifest.id[:12]}, ONNX within {difference:.1e} of torch"
    )


@cli.command()
def demo(
    run: Annotated[Path, typer.Option(help="Run directory; one that exists is resumed")] = Path(
        "runs/demo"
    ),
    destination: Annotated[Path, typer.Option("--out", file_okay=False)] = DEMO,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value …")] = None,
) -> None:
    """Rebuild the demo bundle and case library from nothing."""
    from training.demo import make_demo

    bundle = make_demo(load_recipe("phantom-tiny", overrides or []), run, destination)
    out.print(bundle.model_card, markup=False, highlight=False)


def _show_summary(summary: Summary, skipped: Counter[str]) -> None:
    out.print(f"{summary.studies} studies of {summary.patients} patients")
    out.print(f"image–report pairs: {summary.pairs}")
    out.print(f"views: {_counts(summary.views)}")
    if (reports := summary.reports) is None:
        out.print("reports: none")
    else:
        out.print(
            f"reports: {reports.distinct} distinct; median {reports.median_words:.0f} words, "
            f"95th percentile {reports.words_95th:.0f}"
        )
        out.print(f"cut at the {reports.context} tokens of {MODEL}: {reports.truncated:.1%}")
    out.print(f"skipped: {_counts(skipped)}")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none"


def _show_result(result: Result) -> None:
    out.print(", ".join(f"{name}: {value}" for name, value in result.about.items()), markup=False)
    for name, section in result.sections.items():
        for note in section.notes:
            out.print(f"{name}: {note}", markup=False)
        if section.values:
            table = Table()
            table.add_column(name, no_wrap=True)
            for column in COLUMNS:
                table.add_column(column)
            for key, one in section.values.items():
                table.add_row(key, *one.cells())
            out.print(table)
    for other, found in result.differences.items():
        worst, gap = largest(found)
        out.print(f"against {other}: the largest difference is {gap:.1e}, of {worst}")


if __name__ == "__main__":
    main()
