"""Writes studies into a case library without a pause, and says what it begins and what is done.

Tests run it as a process of its own, read its lines, copy the library meanwhile, and kill it:

    python -m tests.support.library_writer DATA_DIR
"""

import io
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from service.cases import edge, erasure, upkeep
from service.cases.edge import EdgeStore
from service.cases.library import CaseLibrary
from service.cases.places import renditions_of
from service.cases.renditions import name_of
from service.cases.schema import EmbeddedStudy
from service.cases.tally import Tally
from service.imaging.deidentify import Pseudonymiser, StudyRef
from tests.service.cases.conftest import IDENTITY, KEY, embedded_study

NAME = "studies"
"""Name of the library in the data directory."""


def reference(number: int) -> StudyRef:
    """Returns the reference of a study."""
    return StudyRef(f"stu_{number:032x}")


def jpeg(study: str) -> bytes:
    """Returns a small picture, which depends on the study alone."""
    picture = io.BytesIO()
    shade = np.frombuffer(study.encode()[-4:].rjust(4), np.uint8).repeat(64).reshape(16, 16)
    Image.fromarray(shade).save(picture, format="JPEG")
    return picture.getvalue()


def illustrated(study: StudyRef, version: int = 1) -> EmbeddedStudy:
    """Returns a study with one image, whose rendition is `jpeg` of the study and version."""
    whole = embedded_study(study, version=version, patient_id=f"of {study}")
    name = name_of(study, jpeg(f"{study}{version}"))
    images = (replace(whole.study.images[0], rendition=name),)
    return replace(whole, study=replace(whole.study, images=images))


def open_library(data_dir: Path) -> CaseLibrary:
    """Opens the library, with its tally and renditions, for studies that are embedded already."""
    store = EdgeStore(data_dir / NAME, IDENTITY)
    store.tally = Tally(data_dir / f"{NAME}.count")
    return CaseLibrary(store, None, Pseudonymiser(KEY), renditions_of(data_dir, NAME))


def put(library: CaseLibrary, *studies: StudyRef, version: int = 1) -> None:
    """Stores a version of studies with their renditions."""
    embedded = [illustrated(study, version) for study in studies]
    pictures = {
        each.study.images[0].rendition: jpeg(f"{each.study.study_id}{version}") for each in embedded
    }
    library.adopt(embedded, SimpleNamespace(read=pictures.__getitem__))


def main(data_dir: Path) -> None:
    """Puts studies; replaces one of three, and deletes one of five, a moment later.

    The library erases and rewrites its files often.
    """
    vars(edge).update(DUE_LIVING=50)
    upkeep._BUILT_S, erasure._GATHERED_S, erasure._REST = 0.1, 0.1, 1.0
    library = open_library(data_dir)
    for number in count():
        for what, study in _due(number):
            _say("begin", what, study)
            if what == "delete":
                library.delete(study)
            else:
                put(library, study, version=1 if what == "put" else 2)
            _say("done", what, study)


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def _due(number: int) -> list[tuple[str, StudyRef]]:
    due = [("put", reference(number))]
    if number % 3 == 2:
        due.append(("replace", reference(number - 1)))
    if number % 5 == 4:
        due.append(("delete", reference(number - 2)))
    return due


if __name__ == "__main__":
    main(Path(sys.argv[1]))
