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

import pydicom
from pydicom.errors import InvalidDicomError

from service.imaging.libraries import decoding
from training.data.labels import NO_FINDING
from training.data.sources.table import rows
from training.data.study import ManifestStudy, Skipped

SOURCE = "rsna_pneumonia"
_NORMAL = "Normal"


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each image: `pneumonia`, `no finding` or, for other disease, none.

    `Target` is 1 where readers boxed an opacity suspicious for pneumonia. The class is kept in
    the metadata.
    """
    classes = {
        row["patientId"]: row["class"]
        for row in rows(root / "stage_2_detailed_class_info.csv", ("patientId", "class"))
    }
    targets = {
        row["patientId"]: row["Target"]
        for row in rows(root / "stage_2_train_labels.csv", ("patientId", "Target"))
    }
    for patient, target in targets.items():
        image = f"stage_2_train_images/{patient}.dcm"
        if not (root / image).is_file():
            yield Skipped("no image file")
            continue
        try:
            view = _view(root / image)
        except InvalidDicomError:
            yield Skipped("image is not a DICOM file")
            continue
        yield ManifestStudy(
            study_id=patient,
            patient_id=patient,
            source=SOURCE,
            images=(image,),
            report="",
            view=view,
            findings=_findings(target, classes[patient]),
            metadata={"class": classes[patient].lower()},
        )


def _findings(target: str, kind: str) -> tuple[str, ...]:
    if target == "1":
        return ("pneumonia",)
    return (NO_FINDING,) if kind == _NORMAL else ()


def _view(path: Path) -> str | None:
    with decoding:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["ViewPosition"])
        return header.get("ViewPosition") or None
