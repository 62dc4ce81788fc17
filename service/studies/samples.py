"""Groups the files of a folder or a tar into studies. Identity comes from the object.

| files | study |
|---|---|
| DICOM files of one StudyInstanceUID | one study, named by the UID, whatever the files' names |
| `a/1.png` in a folder | a study of its own, named `a:1.png` |
| `KEY.png`, `KEY.jpg` in a tar | one study, named `KEY`, with `:` for `/` |
| `KEY.json` in a tar | describes `KEY`, may name it, and keeps it apart from all others |
| `KEY.txt` | the report of `KEY`; without an image or a `.json` of its name it is no study |
| other DICOM images, such as a CT, beside a radiograph | passed over |
| DICOM structured reports | the report of the study whose StudyInstanceUID they have |
| `KEY.front.png`, `KEY.0.png` in a tar | of `KEY` if that has a `.json` or `.txt`; else alone |

A file that could belong to two studies refuses both, and so do two patients in one study. A text
or a record with a report comes before structured reports; of these the latest finished one counts,
and what the study's headers name is removed from it. A structured report without an image is no
study: nothing shows that it is about a chest radiograph.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from service.errors import StudyInvalid
from service.studies.files import File, Kind
from service.studies.line import StudyLine, field_name, json_object, study_of_values
from service.studies.reports import report_of
from service.studies.tables import Found

SEVERAL_PATIENTS = "The DICOM files of this study name several patients. Correct their PatientID."
BESIDE_TEXT = "structured reports of studies with a text"
_SHARED: frozenset[Kind] = frozenset({"text", "structured report"})
"""Kinds of files that each image of a study has, though they are one file."""
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
        """StudyInstanceUIDs in the headers of the DICOM files."""
        return {file.header.study_id for file in self.files if file.header.study_id}

    @property
    def patients(self) -> set[str]:
        """PatientIDs in the headers of the DICOM files."""
        return {file.header.patient_id for file in self.files if file.header.patient_id}


def samples_of_folder(files: Iterable[File]) -> list[Sample]:
    """Returns a sample for each image, with the text of its name and the reports of its study."""
    files = list(files)
    texts: dict[str, list[File]] = {}
    for file in files:
        if file.kind == "text":
            texts.setdefault(file.stem, []).append(file)
    images = (file for file in files if file.kind == "image")
    samples = [Sample(image.name, [image, *texts.get(image.stem, ())]) for image in images]
    return _with_reports(samples, files)


def samples_of_tar(files: Iterable[File]) -> list[Sample]:
    """Returns a sample for each key with an image or a record, whether its files are neighbours."""
    files = list(files)
    described = {file.stem for file in files if file.kind in ("text", "record")}
    samples: dict[str, Sample] = {}
    for file in files:
        if file.kind == "structured report":
            continue
        whole = _without_part(file.stem)
        part = file.kind == "image" and file.stem not in described and whole in described
        key = whole if part else file.stem
        samples.setdefault(key, Sample(key)).files.append(file)
    found = [each for each in samples.values() if each.names("image") or each.names("record")]
    return _with_reports(found, files)


def _with_reports(samples: list[Sample], files: Iterable[File]) -> list[Sample]:
    """Adds to each sample the structured reports of its StudyInstanceUIDs."""
    reports: dict[str, list[File]] = {}
    for file in files:
        if file.kind == "structured report" and file.header.study_id:
            reports.setdefault(file.header.study_id, []).append(file)
    for sample in samples:
        sample.files += [report for uid in sample.uids for report in reports.get(uid, ())]
    return samples


def by_identity(samples: Iterable[Sample]) -> list[Sample]:
    """Returns the samples, those of one StudyInstanceUID as one. Records keep theirs apart."""
    studies: dict[tuple[str, ...], Sample] = {}
    for sample in samples:
        uids, alone = sample.uids, ("key", sample.key)
        identity = alone if len(uids) != 1 or sample.names("record") else ("uid", *uids)
        into = studies.setdefault(identity, Sample(sample.key))
        into.files += [f for f in sample.files if f.kind not in _SHARED or f not in into.files]
    return list(studies.values())


def leave_others_out(study: Sample) -> list[File]:
    """Removes the images of other modalities beside a radiograph, and returns them.

    A study without a radiograph keeps them: their decoder says why it is rejected.
    """
    kept = [file for file in study.files if file.kind != "image" or file.header.projection]
    if not any(file.kind == "image" for file in kept):
        return []
    others = [file for file in study.files if file.kind == "image" and not file.header.projection]
    study.files = kept
    return others


def studies_of(
    studies: Sequence[Sample], read: Read, passed: Counter[str] | None = None
) -> Iterator[Found]:
    """Yields each sample's study, or what is wrong with it. The files are read when it is taken.

    passed: counts the structured reports that do not count: reason → how many.
    """
    keys = {study.key for study in studies}
    passed = Counter() if passed is None else passed
    sharing = Counter(
        file.name for study in studies for file in study.files if file.kind in _SHARED
    )
    for study in studies:
        try:
            _check(study, sharing, keys)
            found = _study(study, read)
            reports = study.names("structured report")
            if isinstance(found, StudyLine) and found.report is not None:
                passed.update([BESIDE_TEXT] * len(reports))
            elif isinstance(found, StudyLine) and reports:
                _check_unshared(reports, sharing)
                report = report_of(study.names("image"), reports, read, passed)
                found = found.model_copy(update={"report": report})
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


def _check_unshared(reports: Iterable[str], sharing: Counter[str]) -> None:
    if any(sharing[name] > 1 for name in reports):
        raise StudyInvalid(
            "Its structured report is also that of other studies of this source, whose images have "
            "the same StudyInstanceUID. Put their images together, or give each a text of its own."
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
