"""Runs `eclip-train data`: turns a published data set into images and manifests."""
# Modules that load torch are imported inside the command, so that --help answers at once.

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from training.console import counts, out, show_summary
from training.data.sources import SOURCES
from training.data.subsets import SUBSETS, choose


def data(
    name: Annotated[str, typer.Argument(help=", ".join(SOURCES))],
    root: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the download")
    ],
    destination: Annotated[Path, typer.Option("--out", help="Folder to write")],
    subset: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(SUBSETS)}, or a published list: a text file with one study or image "
            "a line, or a .csv that names them"
        ),
    ] = None,
    gaze: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Manifest with gaze on the same images"),
    ] = None,
    without: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Manifest whose patients to leave out, such as those of a test",
        ),
    ] = None,
) -> None:
    """Turns a published data set into images, studies.parquet and studies.jsonl."""
    from training.data.gather import gather, place, with_gaze, without_patients, write_manifests
    from training.data.manifest import read_manifest
    from training.data.study import DataError
    from training.survey import summarise

    if name not in SOURCES:
        raise typer.BadParameter(f"there are {', '.join(SOURCES)}", param_hint="NAME")
    by_list = subset is not None and subset not in SUBSETS
    entries = track(SOURCES[name](root, lateral=by_list), "Reading", total=None, console=out)
    studies, skipped = gather(entries)
    if subset is not None:
        studies = choose(subset, name, studies)
    if without is not None:
        everyone, studies = studies, without_patients(studies, read_manifest(without))
        skipped[f"of a patient of {without.name}"] += len(everyone) - len(studies)
    if gaze is not None:
        studies = with_gaze(studies, read_manifest(gaze))
    if not studies:
        raise DataError(
            f"no study of {name} lies in {root} (skipped: {counts(skipped)}); see "
            f"training/data/sources/{name}.py for the files that belong there"
        )
    images = [image for study in studies for image in study.images]
    for image in track(images, "Copying", console=out):
        place(root / image, destination / image)
    write_manifests(destination, studies)
    show_summary(summarise(studies), skipped)
