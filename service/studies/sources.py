"""Opens a source of studies: a studies.jsonl, .csv or .parquet, a tar, or a folder.

Files that were fetched from a PACS are read as a folder's.

Service and training read studies here and nowhere else, so that one row is one study for both.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol, Self

from service.errors import SourceUnreadable, StudyInvalid
from service.imaging.dicom.header import looks_like_dicom
from service.imaging.dicom.identifiers import belonging
from service.studies.files import (
    HEAD,
    HEATMAPS,
    HIDDEN,
    LONE,
    LONE_REPORT,
    OTHER,
    OTHERS,
    File,
    file_of,
    is_hidden,
)
from service.studies.images import TAR, ReadImage, place_of_images, read_file, read_within
from service.studies.line import StudyLine
from service.studies.samples import (
    SEVERAL_PATIENTS,
    Sample,
    by_identity,
    leave_others_out,
    samples_of_folder,
    samples_of_tar,
    studies_of,
)
from service.studies.tables import Found, read_csv, read_jsonl, read_parquet
from service.studies.tars import members, read_member

_MANIFESTS: dict[str, Callable[[Path], tuple[Iterator[Found], int]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}


_UNUSED = {
    "heatmap": HEATMAPS,
    "text": LONE,
    "record": OTHER,
    "image": OTHER,
    "structured report": LONE_REPORT,
}
"""Kind of file → the reason why one that no study has is passed over."""


class ReadPart(Protocol):
    """A reader of files by their names."""

    def __call__(self, name: str, limit: int = -1, /) -> bytes:
        """Returns the first `limit` bytes of a file, or all (-1)."""
        ...


@dataclass(frozen=True, slots=True)
class Studies:
    """The studies of one source. Each is read when it is taken."""

    found: Iterator[Found]
    count: int
    """Number of studies, those that cannot be read included."""
    read: Callable[[str], bytes]
    """Returns an image's bytes, by the name that its study gives it."""
    passed: Counter[str]
    """Files and lines that are no study: reason → how many. Complete once all were taken."""


def unseen() -> None:
    """Shows nobody that a file was looked at."""


def open_studies(
    path: Path, read: ReadImage = read_within, looked: Callable[[], None] = unseen
) -> Studies:
    """Opens a source by its kind. Raises SourceUnreadable for any other file or folder.

    read: reads the images of a manifest; `read_image` if they may lie outside of its folder.
    looked: called after each file of a folder or tar that is looked at.
    """
    suffix = path.suffix.lower()
    try:
        if path.is_dir():
            return _folder(path, looked)
        if suffix == TAR:
            return _tar(path, looked)
        if suffix in _MANIFESTS:
            return _manifest(partial(read, place_of_images(path)), *_MANIFESTS[suffix](path))
    except OSError as error:
        raise SourceUnreadable(
            f"Cannot read the source: {error.strerror}. Check it and its permissions."
        ) from None
    raise SourceUnreadable(
        f"Cannot read studies from a file of this kind. Give a folder, or a file "
        f"{', '.join((*_MANIFESTS, TAR))}; unpack what is compressed."
    )


def studies_among(files: Mapping[str, bytes]) -> Studies:
    """Reads the studies among files as if they lay in a folder. files: name → content."""

    def read(name: str, limit: int = -1, /) -> bytes:
        return files[name] if limit < 0 else files[name][:limit]

    sorted_in = _SortedIn.of(read, ((name, None) for name in sorted(files)), unseen)
    return sorted_in.studies(samples_of_folder(sorted_in.files))


def _manifest(read: ReadPart, found: Iterator[Found], count: int) -> Studies:
    known = (Found(each.place, _with_patient(each.study, read)) for each in found)
    return Studies(known, count, read, Counter())


def _tar(path: Path, looked: Callable[[], None]) -> Studies:
    names = [(m.name, None if m.fault is None else StudyInvalid(m.fault)) for m in members(path)]
    sorted_in = _SortedIn.of(partial(read_member, path), names, looked)
    return sorted_in.studies(samples_of_tar(sorted_in.files))


def _folder(path: Path, looked: Callable[[], None]) -> Studies:
    """Reads all DICOM headers at once, because files of one study may lie in several folders."""
    sorted_in = _SortedIn.of(partial(read_file, path), _names(path), looked)
    samples = samples_of_folder(sorted_in.files)
    if not samples and not sorted_in.faults:
        raise SourceUnreadable(
            "The folder holds no DICOM, PNG or JPEG file. Give the folder of the radiographs."
        )
    return sorted_in.studies(samples)


@dataclass(frozen=True, slots=True)
class _SortedIn:
    """The files of a folder or a tar: those of studies, those that cannot be read, the rest."""

    read: ReadPart
    files: list[File] = field(default_factory=list)
    faults: list[Found] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls,
        read: ReadPart,
        names: Iterable[tuple[str, StudyInvalid | None]],
        looked: Callable[[], None],
    ) -> Self:
        """Looks at each file. names: each with why it cannot be read, if so."""
        sorted_in = cls(read)
        for name, fault in names:
            if is_hidden(name):
                sorted_in.passed[HIDDEN] += 1
            elif fault is not None:
                sorted_in.faults.append(Found(name, fault))
            else:
                sorted_in._add(name)
            looked()
        return sorted_in

    def studies(self, samples: Sequence[Sample]) -> Studies:
        """Returns what could not be read, then the studies of the samples."""
        used = {file for sample in samples for file in sample.files if file.kind != "heatmap"}
        self.passed.update(_UNUSED[file.kind] for file in self.files if file not in used)
        joined = by_identity(samples)
        self.passed.update(OTHERS for each in joined for _ in leave_others_out(each))
        found = chain(self.faults, studies_of(joined, self.read, self.passed))
        return Studies(found, len(self.faults) + len(joined), self.read, self.passed)

    def _add(self, name: str) -> None:
        try:
            file = file_of(name, partial(self.read, name))
        except OSError as error:
            self.faults.append(Found(name, _unread(error)))
        else:
            if isinstance(file, File):
                self.files.append(file)
            else:
                self.passed[file] += 1


def _names(folder: Path) -> Iterator[tuple[str, StudyInvalid | None]]:
    """Yields the files below a folder, in the order of their paths."""
    faults: list[OSError] = []
    paths = sorted(_walked(folder, faults.append))
    for error in faults:
        yield str(Path(error.filename).relative_to(folder)), _unread(error)
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            yield name, _unread(error)
        else:
            yield name, None if regular else StudyInvalid("It is a device. Remove it.")


def _walked(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """Yields the files below a folder, and below links to other folders. Enters none twice."""
    root = folder.resolve()
    entered = {root}
    for at, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        yield from (Path(at, name) for name in names)
        for name in sorted(folders):
            path = Path(at, name)
            real = path.resolve()
            if real in entered or (path.is_symlink() and real.is_relative_to(root)):
                folders.remove(name)
            else:
                entered.add(real)


def _unread(error: OSError) -> StudyInvalid:
    return StudyInvalid(f"It cannot be read: {error.strerror}. Check it and its permissions.")


def _with_patient(study: StudyLine | StudyInvalid, read: ReadPart) -> StudyLine | StudyInvalid:
    """Returns the study with the patient of its DICOM files, if it names none itself."""
    if isinstance(study, StudyInvalid) or study.patient_id is not None:
        return study
    patients = {_patient_of(partial(read, image)) for image in study.images} - {None}
    if len(patients) > 1:
        return StudyInvalid(SEVERAL_PATIENTS)
    return study.model_copy(update={"patient_id": next(iter(patients), None)})


def _patient_of(read: Callable[[int], bytes]) -> str | None:
    try:
        return belonging(read).patient_id if looks_like_dicom(read(HEAD)) else None
    except (OSError, StudyInvalid):  # whoever reads the whole image reports it
        return None
