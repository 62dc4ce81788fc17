"""Finds the studies and images that a published list names.

A list is a text file with one name a line, or a table (.csv or .tsv, plain or gzipped) as its
authors publish it. Of a table the first of these columns is read, whatever its case: `COLUMNS`.

A name is a study's id, the path of an image with any folders before it, or the file name of an
image if no other image of the data set has it. Endings (.dcm, .jpg, .jpeg, .png) may differ:
MIMIC-CXR's images are DICOM in one place and JPEG in another.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from training.data.sources.table import rows
from training.data.study import DataError, ManifestStudy

COLUMNS = (
    "dicom_id",
    "path",
    "imgpath",
    "image_path",
    "image index",
    "imageid",
    "image_id",
    "patientid",
    "study_id",
)
"""Columns that name an image, before those that name a study, in the words of each data set.

`dicom_id` comes before paths: BenchX's mimic_5x200_ids.csv has one path for all images."""
_TABLE = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_ENDING = re.compile(r"\.(?:dcm|jpe?g|png)$", re.IGNORECASE)


def names_of(path: Path) -> list[str]:
    """Returns the names in a list; raises DataError for a file that holds none."""
    names = list(_column(path) if path.name.lower().endswith(_TABLE) else _lines(path))
    if not names:
        raise DataError(f"{path.name} names no study or image; write one a line")
    return names


def listed(names: Iterable[str], studies: Sequence[ManifestStudy]) -> list[ManifestStudy]:
    """Returns the studies that `names` name, in the order of `studies`.

    A study that is named by its id is taken whole. One that is named by images becomes a study for
    each of them, because lists of images count images. Raises DataError if a name names nothing.
    """
    wanted = dict.fromkeys(name.strip() for name in names if name.strip())
    index = _Index(studies)
    whole: set[str] = set()
    images: set[str] = set()
    missing: list[str] = []
    for name in wanted:
        found = index.image(name)
        if name in index.ids:
            whole.add(name)
        elif found is not None:
            images.add(found)
        else:
            missing.append(name)
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(wanted)} names in the list name no study or image of the "
            f"data set, for example {missing[0]!r}; download what is missing, or take the names "
            "out of the list"
        )
    return [
        each
        for study in studies
        for each in (
            (study,)
            if study.study_id in whole
            else one_image_each(study, [image for image in study.images if image in images])
        )
    ]


def one_image_each(study: ManifestStudy, images: Sequence[str]) -> list[ManifestStudy]:
    """Returns a study for each of some images of `study`.

    The only one keeps the study's id; several have their images' names behind it. The view is kept
    for the first image of `study` alone, since it is that image's.
    """
    several = len(images) > 1
    return [
        replace(
            study,
            study_id=f"{study.study_id}-{_name(image)}" if several else study.study_id,
            images=(image,),
            view=study.view if image == study.images[0] else None,
            gaze=study.gaze if image == study.images[0] else (),
        )
        for image in images
    ]


class _Index:
    """Finds images by path or name."""

    def __init__(self, studies: Iterable[ManifestStudy]) -> None:
        studies = list(studies)
        images = [image for study in studies for image in study.images]
        common = Counter(map(_name, images))
        self.ids = {study.study_id for study in studies}
        self._by_path = {_bare(image): image for image in images}
        self._by_name = {_name(image): image for image in images if common[_name(image)] == 1}

    def image(self, name: str) -> str | None:
        """Returns the image of that name or path; None if there is none."""
        bare = _bare(name.replace("\\", "/"))
        if "/" not in bare:
            return self._by_name.get(bare)
        parts = bare.split("/")
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((self._by_path[tail] for tail in tails if tail in self._by_path), None)


def _column(path: Path) -> Iterator[str]:
    """Yields the cells of the table's column that names images or studies."""
    for row in rows(path, ()):
        columns = {name.lower(): name for name in row}
        column = next((columns[name] for name in COLUMNS if name in columns), None)
        if column is None:
            raise DataError(
                f"{path.name} has none of the columns {', '.join(COLUMNS)}; name the images in one "
                "of them, or in a text file, one a line"
            )
        yield row.identifier(column)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text; save it in that encoding") from None
    return [line for line in lines if line.strip()]


def _bare(path: str) -> str:
    return _ENDING.sub("", path)


def _name(path: str) -> str:
    return _bare(path.rsplit("/", 1)[-1])
