"""eclip-train: prepare data, train a recipe, evaluate it, and export it as a bundle.

Typical order: data → fit → export → evaluate.

Exit status: 1 for data or files that cannot be used, 2 for a command or recipe that asks for what
is not there, 70 for a fault of this program.
"""
# Modules that load torch are imported inside the commands, so that --help answers at once.

import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.progress import Progress

from service.errors import EclipError
from training.console import complain, out, show_result, show_unread
from training.data.labels import Uncertain
from training.data_command import data
from training.errors import DATA_FAULT, OWN_FAULT, TrainingError
from training.evaluate import MEASURES, PromptMean

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
DEMO = Path("service/demo")
CHEXPERT_LABELS = Path(__file__).parent / "configs" / "chexpert.labels.json"
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Changes to the recipe: section.key=value, for example data.train=100. The section "
        "may be left out where one alone has the key"
    ),
]
RecipeName = Annotated[str, typer.Argument(help="A recipe's name or path")]


def main() -> None:
    """Runs the command line. An error that the user can put right is one sentence, no traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\.")  # a resumed run has files
    try:
        cli()
    except TrainingError as error:
        _complain(error, error.exit_status)
    except (EclipError, OSError) as error:
        _complain(error, DATA_FAULT)
    except Exception as error:
        traceback.print_exc()
        _complain(error, OWN_FAULT)


def _complain(error: Exception, status: int) -> NoReturn:
    complain(error)
    sys.exit(status)


cli.command(help="Turn a published data set into images, studies.parquet and studies.jsonl.")(data)


@cli.command()
def shards(
    recipe: RecipeName,
    destination: Annotated[Path, typer.Argument(help="Folder to write; run again to resume")],
    overrides: Overrides = None,
) -> None:
    """Prepare a recipe's manifest for its model once, as webdataset shards, on every core."""
    from service.studies.images import place_of_images
    from training.data.manifest import read_manifest
    from training.data.shards import write_shards
    from training.data.spec import ManifestData
    from training.recipe import RecipeError, load_recipe
    from training.run.models import image_input

    chosen = load_recipe(recipe, overrides or [])
    if not isinstance(chosen.data, ManifestData):
        raise RecipeError(
            'shards are made from a manifest; set "data={source: manifest, path: studies.parquet}"'
        )
    path = chosen.data.path
    with Progress(console=out) as progress:
        task = progress.add_task("Shards", total=None)
        written = write_shards(
            read_manifest(path),
            place_of_images(path),
            destination,
            image_input(chosen.model),
            chosen.expert.sigma,
            lambda: progress.advance(task),
        )
    out.print(
        f"{written.pairs} images in {written.shards} shards, {written.kept} of them finished "
        "earlier"
    )
    show_unread(written.unread)


@cli.command()
def fit(
    recipe: RecipeName,
    run: Annotated[Path, typer.Argument(help="The run's folder; one that exists is resumed")],
    overrides: Overrides = None,
) -> None:
    """Train a recipe. Stop it at any time; the same command resumes it."""
    from training.fit import trainer
    from training.recipe import load_recipe

    trainer.fit(load_recipe(recipe, overrides or []), run)
    out.print(f"Trained. Next: eclip-train export {run} BUNDLE")


@cli.command()
def evaluate(
    source: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A bundle, or a run's folder")
    ],
    manifest: Annotated[
        Path,
        typer.Argument(exists=True, help="studies.parquet, .jsonl or .csv, a .tar, or a folder"),
    ],
    train_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Fraction of patients to leave out as training data, if the manifest publishes "
            "no split. Default: those that SOURCE was trained on",
        ),
    ] = None,
    suite: Annotated[str, typer.Option(help=f"all, or some of {','.join(MEASURES)}")] = "retrieval",
    labels: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="labels.json with prompts, or your copy of GLoRIA's constants.py or ConVIRT's "
            "query.csv. Default: the bundle's own",
        ),
    ] = None,
    label_set: Annotated[
        str | None, typer.Option(help="Which label set of the labels. Default: the only one")
    ] = None,
    prompt_mean: Annotated[
        PromptMean,
        typer.Option(
            help="In zero_shot, scale the mean of a label's prompts to unit length, as CLIP does, "
            "or leave it plain, as eCLIP's authors do"
        ),
    ] = "unit",
    uncertain: Annotated[
        Uncertain,
        typer.Option(
            help="What findings count as of which the labeller was not sure: left out of the "
            "measures, present or absent"
        ),
    ] = "ignored",
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="A bundle or run that must measure the same"
        ),
    ] = None,
    destination: Annotated[
        Path | None, typer.Option("--out", help="Folder for metrics.json and report.html")
    ] = None,
) -> None:
    """Measure a bundle or a run on studies: each number with its interval and with chance."""
    from training.evaluate.compare import check_agreement
    from training.evaluate.evaluation import Evaluation
    from training.evaluate.page import PAGE, write

    measures = MEASURES if suite == "all" else tuple(suite.split(","))
    if unknown := sorted(set(measures) - set(MEASURES)):
        raise typer.BadParameter(f"no {', '.join(unknown)}", param_hint="--suite")
    job = Evaluation(
        manifest,
        train_share,
        measures,
        labels,
        uncertain,
        label_set=label_set,
        prompt_mean=prompt_mean,
    )
    result = job(source, against)
    show_result(result)
    if destination is not None:
        write(result, destination)
        out.print(f"Written: {destination / PAGE}")
    if against is not None:
        check_agreement(result.differences[against.name])


@cli.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A run's folder, a model as open_clip names it, or `transformers:` with the "
            "folder or hub name of a CLIP, SigLIP, dual encoder, DINOv2 or ViT"
        ),
    ],
    directory: Annotated[Path, typer.Argument(help="Where to write the bundle")],
    pretrained: Annotated[
        str | None,
        typer.Option(help="For an open_clip model: a tag of its weights, or a checkpoint's path"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name")] = None,
    version: Annotated[str, typer.Option(help="The bundle's version")] = "1",
    labels: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="labels.json with prompts")
    ] = CHEXPERT_LABELS,
    reducing_gap: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=8,
            help="For a model that is no run: first shrink large images to this multiple of its "
            "input",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Manifest or run whose validation split calibrates probabilities, decides on "
            "int8 graphs and, if it has gaze, measures maps",
        ),
    ] = None,
    scoring: Annotated[
        Literal["softmax", "sigmoid"] | None,
        typer.Option(
            help="softmax weighs present against absent prompts; sigmoid, for a model with a logit "
            "bias such as SigLIP, takes present prompts alone. Default: as the model was trained"
        ),
    ] = None,
) -> None:
    """Write a bundle from a run or a model of open_clip or transformers, checked against torch."""
    from training.export.export import Export

    job = Export(labels, version, name, validation, pretrained, reducing_gap, scoring)
    exported = job(source, directory)
    for label, reason in exported.uncalibrated.items():
        out.print(f"not calibrated: {label} ({reason})", markup=False)
    manifest = exported.bundle.manifest
    difference = manifest.provenance["parity_max_abs_difference"]
    out.print(f"{directory}: bundle {manifest.id[:12]}, ONNX within {difference:.1e} of torch")


@cli.command()
def demo(
    run: Annotated[Path, typer.Option(help="The run's folder; one that exists is resumed")] = Path(
        "runs/demo"
    ),
    destination: Annotated[Path, typer.Option("--out", file_okay=False)] = DEMO,
    overrides: Overrides = None,
) -> None:
    """Make the demo bundle and case library again from nothing."""
    from training.demo import make_demo
    from training.recipe import load_recipe

    bundle = make_demo(load_recipe("phantom-tiny", overrides or []), run, destination)
    out.print(bundle.model_card, markup=False, highlight=False)


if __name__ == "__main__":
    main()
