"""eclip-train: data | fit | evaluate | export | demo."""

import logging
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track
from rich.table import Table

from service.bundle.labels import LabelSets
from service.bundle.manifest import load
from service.errors import EclipError
from training.data.pairs import study_pairs
from training.data.sources import SOURCES
from training.data.study import Study, read_studies, split_of, write_studies
from training.evaluate.encode import encode_images, encode_texts
from training.evaluate.retrieval import Recall, image_to_report
from training.export import ParityError, export
from training.model.clip import WeightsIgnored, from_open_clip
from training.model.tokenizer import TokenizerMismatch
from training.recipe import CONFIGS, RecipeError, load_recipe
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
        RecipeError,
        ParityError,
        TokenizerMismatch,
        WeightsIgnored,
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
) -> None:
    """Bring a published data set into one form: images and studies.jsonl."""
    if name not in SOURCES:
        raise typer.BadParameter(f"there are {', '.join(SOURCES)}", param_hint="NAME")
    studies = list(SOURCES[name](root))
    if not studies:
        raise typer.BadParameter("no radiograph with a report lies here", param_hint="--root")
    for study in track(studies, "Copying", console=out):
        for image in study.images:
            (destination / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / image, destination / image)
    write_studies(destination / "studies.jsonl", studies)
    _show_summary(studies)


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
    bundle: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="studies.jsonl")],
    train_share: Annotated[float, typer.Option(min=0, max=1, help="Left out, by patient")] = 0.0,
) -> None:
    """Image → report recall of a bundle on studies, with bootstrap intervals beside chance."""
    loaded = load(bundle)
    fractions = (train_share, 0.0, 1 - train_share)
    studies = [s for s in read_studies(manifest) if split_of(s.patient_id, fractions) == "test"]
    pairs = study_pairs(studies, manifest.parent, loaded.manifest.image)
    recalls = image_to_report(
        encode_images(loaded, pairs.images),
        encode_texts(loaded, pairs.reports),
        pairs.reports,
        [study.patient_id for study in pairs.studies],
    )
    _show_recalls(recalls, len(pairs), len(set(pairs.reports)))


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
) -> None:
    """Write a parity-checked bundle from a run or from any open_clip model."""
    run = Path(source)
    if (run / RECIPE).is_file():
        recipe, clip = load_run(run)
        default_name = recipe.name
    else:
        clip, default_name = from_open_clip(source, pretrained), source.split("/")[-1]
    label_sets = LabelSets.model_validate_json(labels.read_bytes())
    bundle = export(
        clip,
        directory,
        name=name or default_name,
        bundle_version=version,
        label_sets=label_sets,
    )
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
    for name, value in bundle.manifest.metrics.items():
        out.print(f"{name:50} {value:.3f}")


def _show_summary(studies: list[Study]) -> None:
    lengths = sorted(len(study.report.split()) for study in studies)
    patients = len({study.patient_id for study in studies})
    out.print(
        f"{len(studies)} pairs of {patients} patients; {len({s.report for s in studies})} distinct "
        f"reports, median {lengths[len(lengths) // 2]} words"
    )


def _show_recalls(recalls: list[Recall], pairs: int, reports: int) -> None:
    table = Table("k", "recall@k", "95 % interval", "chance")
    for recall in recalls:
        interval = f"{recall.low:.3f} – {recall.high:.3f}"
        table.add_row(str(recall.k), f"{recall.value:.3f}", interval, f"{recall.chance:.3f}")
    out.print(f"Image → report, {pairs} images, {reports} distinct reports")
    out.print(table)
