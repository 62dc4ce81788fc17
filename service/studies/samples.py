"""Groups the files of a folder or a tar into studies. Identity comes from the object.

| files | study |
|---|---|
| DICOM files of one StudyInstanceUID | one study, named by the UID, whatever the files' names |
| `a/1.png` in a folder | a study of its own, named `a:1.png` |
| `KEY.png`, `KEY.jpg` in a tar | one study, named `KEY`, with `:` for `/` |
| `KEY.json` in a tar | describes `KEY`, may name it, and keeps it apart from all others |
| `KEY.txt` | the report of `KEY`; without an image or a `.json` of its name it is no study |
| `KEY.front.png`, `KEY.0.png` in a tar | of `KEY` if that has a `.json` or `.txt`; else alone |

A file that could belong to two studies refuses both, and so do two patients in one study.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from service.errors import StudyInvalid
from service.studies.files import File, Kind
from service.studies.line import StudyLine, field_name, json_object, study_of_values
from service.studies.tables import Found

SEVERAL_PATIENTS = "The DICOM files of this study name several patients. Correct their PatientID."
Read = Callable[[str], bytes]
"""Returns the bytes of a file by its name in the folder or tar."""


@dataclass(slots=True)
class Sample:
    """Files that are one study. `key` is what they share, or the first one's name."""

    key: str
    files: list[File] = field(default_factory=list)

    def names(self, kind: Kind) -> list[str]:
        """Returns the names of the files of one kind."""
        return [file.name for file in self.files if file.kind == kind]

    @property
    def uids(self) -> set[str]:
        """StudyInstanceUIDs in the headers of the images."""
        return {file.header.study_id for file in self.files if file.header.study_id}

    @property
    def patients(self) -> set[str]:
        """PatientIDs in the headers of the images."""
        return {file.header.patient_id for file in self.files if file.header.patient_id}


def samples_of_folder(files: Iterable[File]) -> list[Sample]:
    """Returns a sample for each image, with the text of its name."""
    files = list(files)
    texts: dict[str, list[File]] = {}
    for file in files:
        if file.kind == "text":
            texts.setdefault(file.stem, []).append(file)
    images = (file for file in files if file.kind == "image")
    return [Sample(image.name, [image, *texts.get(image.stem, ())]) for image in images]


def samples_of_tar(files: Iterable[File]) -> list[Sample]:
    """Returns a sample for each key with an image or a record, whether its files are neighbours."""
    files = list(files)
    described = {file.stem for file in files if file.kind in ("text", "record")}
    samples: dict[str, Sample] = {}
    for file in files:
        whole = _without_part(file.stem)
        part = file.kind == "image" and file.stem not in described and whole in described
        key = whole if part else file.stem
        samples.setdefault(key, Sample(key)).files.append(file)
    return [each for each in samples.values() if each.names("image") or each.names("record")]


def by_identity(samples: Iterable[Sample]) -> list[Sample]:
    """Returns the samples, those of one StudyInstanceUID as one. Records keep theirs apart."""
    studies: dict[tuple[str, ...], Sample] = {}
    for sample in samples:
        uids, alone = sample.uids, ("key", sample.key)
        identity = alone if len(uids) != 1 or sample.names("record") else ("uid", *uids)
        into = studies.setdefault(identity, Sample(sample.key))
        into.files += [f for f in sample.files if f.kind != "text" or f not in into.files]
    return list(studies.values())


def studies_of(studies: Sequence[Sample], read: Read) -> Iterator[Found]:
    """Yields each sample's study, or what is wrong with it. The files are read when it is taken."""
    keys = {study.key for study in studies}
    sharing = Counter(name for study in studies for name in study.names("text"))
    for study in studies:
        try:
            _check(study, sharing, keys)
            found = _study(study, read)
        except StudyInvalid as error:
            found = error
        except OSError as error:
            found = StudyInvalid(f"Its text cannot be read: {error.strerror}.")
        yield Found(study.key, found)


def _without_part(stem: str) -> str:
    """Returns `a/KEY` of `a/KEY.front`."""
    path = PurePosixPath(stem)
    return str(path.with_name(path.name.rpartition(".")[0] or path.name))


def _check(study: Sample, sharing: Counter[str], keys: set[str]) -> None:
    names = [file.name for file in study.files]
    if len(set(names)) < len(names):
        raise StudyInvalid("The tar has a file of this study twice. Write it again.")
    texts = [file for file in study.files if file.kind == "text"]
    if len({text.stem for text in texts}) < len(texts) or len(study.names("record")) > 1:
        raise StudyInvalid("Two text or .json files have the name of this study. Keep one.")
    if any(sharing[text.name] > 1 for text in texts):
        raise StudyInvalid(
            "Its text file has the name of several studies' images. Give each study a text of "
            "its own, or use a manifest."
        )
    if len(study.patients) > 1:
        raise StudyInvalid(SEVERAL_PATIENTS)
    if len(study.uids) > 1 and not study.names("record"):
        raise StudyInvalid(
            "The DICOM files of this name have several StudyInstanceUIDs. Name them apart."
        )
    if not study.names("image") and _without_part(study.key) in keys - {study.key}:
        raise StudyInvalid(
            "The .json could be a study of its own, or a part of the study whose name it extends. "
            "Give it the name of its study, or a name without a dot."
        )


def _study(study: Sample, read: Read) -> StudyLine | StudyInvalid:
    named = next(iter(study.uids), "") if len(study.uids) == 1 else study.key.replace("/", ":")
    texts = dict.fromkeys(_text(read(name)) for name in study.names("text"))
    report, patient = "\n".join(texts).strip(), next(iter(study.patients), None)
    values = {"study_id": named, "patient_id": patient, "report": report or None}
    record = next((json_object(read(name)) for name in study.names("record")), {})
    record = {name: value for name, value in record.items() if field_name(name) != "images"}
    found = study_of_values({**record, "images": study.names("image")}, values)
    if isinstance(found, StudyLine):
        if report and found.report != report:
            raise StudyInvalid("The .json and the .txt hold two reports. Keep one.")
        if study.names("heatmap") and found.patient_id is None:
            raise StudyInvalid(
                "The shard was written by `eclip-train shards`, and its studies name no patient. "
                "Index the manifest that it was made from."
            )
    return found


def _text(data: bytes) -> str:
    """Decodes a report. Text of another encoding is refused, as nobody can tell which it is."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise StudyInvalid("The report is not UTF-8 text. Save it in that encoding.")
    return text
