"""Reads the RSNA Pneumonia Detection Challenge, stage 2.

Shih et al. 2019, doi 10.1148/ryai.2019180041. Download from the challenge's page:
`stage_2_train_labels.csv`, `stage_2_detailed_class_info.csv` and
`stage_2_train_images/<patientId>.dcm`. Reports are empty.

The radiographs are from NIH ChestX-ray14 under new names, and a `patientId` names one image, not
one person. So no split of this set, and none together with ChestX-ray14, keeps persons apart. Use
it to test models that were trained on other data.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.labels import NO_FINDING
from training.data.sources.headers import NotDicom, view_position
from training.data.sources.table import rows
from training.data.study import ManifestStudy, Skipped

SOURCE = "rsna_pneumonia"
_CLASSES = {
    "normal": (NO_FINDING,),
    "no lung opacity / not normal": (),
    "lung opacity": (),
}
"""Findings where no opacity is boxed."""
_TARGETS = {"1": True, "1.0": True, "0": False, "0.0": False}


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each image: `pneumonia`, `no finding` or, for other disease, none.

    `Target` is 1 where readers boxed an opacity suspicious for pneumonia. The class is kept in
    the metadata.
    """
    classes = _classes(root / "stage_2_detailed_class_info.csv")
    labels = root / "stage_2_train_labels.csv"
    for patient, boxed in _boxed(labels).items():
        image = f"stage_2_train_images/{patient}.dcm"
        if not (root / image).is_file():
            yield Skipped("no image file")
            continue
        try:
            view = view_position(root / image)
        except NotDicom:
            yield Skipped("image is not a DICOM file")
            continue
        if patient not in classes:
            yield Skipped("no class")
            continue
        yield ManifestStudy(
            study_id=patient,
            patient_id=patient,
            source=SOURCE,
            images=(image,),
            report="",
            view=view,
            findings=("pneumonia",) if boxed else _CLASSES[classes[patient]],
            metadata={"class": classes[patient]},
        )


def _classes(table: Path) -> dict[str, str]:
    """Returns {patient: class, in lower case}."""
    names = {name: name for name in _CLASSES}
    return {
        row.identifier("patientId"): row.choice("class", names)
        for row in rows(table, ("patientId", "class"))
    }


def _boxed(table: Path) -> dict[str, bool]:
    """Returns {patient: whether any of its rows is a box}."""
    boxed: dict[str, bool] = {}
    for row in rows(table, ("patientId", "Target")):
        patient = row.identifier("patientId")
        boxed[patient] = row.choice("Target", _TARGETS) or boxed.get(patient, False)
    return boxed
