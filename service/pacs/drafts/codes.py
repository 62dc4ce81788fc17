"""Gives the labels of a classifier and the parts of a draft their codes.

A finding has a SNOMED CT or DICOM code where the label says exactly that. Codes of SNOMED CT are
those that PS3.16 uses (CID 6101 ff.) or that several public mappings agree on. pydicom 3.0.2 is no
source for one of them: its `codes.SCT.Cardiomegaly` is the code of an enlarged foramen.

Everything else has a code of our own scheme, which every draft names.
"""

import hashlib

from pydicom.sr.coding import Code

from service.pacs.drafts.dicom_text import short_text
from service.studies.own_drafts import OWN_SCHEME


def own_code(value: str, meaning: str) -> Code:
    """Returns a code of the own scheme. value: at most 16 characters."""
    return Code(value, OWN_SCHEME, meaning)


def finding_code(label: str) -> Code:
    """Returns the code of a classifier's label.

    A label that is not in the table has a code made from its words: the same label has the same
    code in every draft.
    """
    name = " ".join(label.replace("_", " ").lower().split())
    known = _FINDINGS.get(_SAME.get(name, name))
    if known is not None:
        return known
    digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()
    return own_code(f"L-{digest[:12]}", short_text(label) or "Label without a name")


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


_FINDINGS = {
    "atelectasis": _sct("46621007", "Atelectasis"),
    "cardiomegaly": _sct("8186001", "Cardiomegaly"),
    "consolidation": _sct("95436008", "Lung consolidation"),
    "emphysema": _sct("87433001", "Pulmonary emphysema"),
    "fibrosis": _sct("51615001", "Pulmonary fibrosis"),
    "fracture": _sct("125605004", "Fracture of bone"),
    "infiltration": Code("112121", "DCM", "Infiltrate"),
    "lung opacity": Code("112001", "DCM", "Opacity"),
    "mass": _sct("4147007", "Mass"),
    "nodule": _sct("27925004", "Nodule"),
    "pleural effusion": _sct("60046008", "Pleural effusion"),
    "pneumonia": _sct("233604007", "Pneumonia"),
    "pneumothorax": _sct("36118008", "Pneumothorax"),
    "pulmonary edema": _sct("19242006", "Pulmonary edema"),
    "enlarged cardiomediastinum": own_code("WIDE_MEDIASTINUM", "Enlarged cardiomediastinum"),
    "hernia": own_code("HERNIA", "Hernia"),
    "lung lesion": own_code("LUNG_LESION", "Lung lesion"),
    "no finding": own_code("NO_FINDING", "No finding"),
    "pleural other": own_code("PLEURAL_OTHER", "Other pleural abnormality"),
    "pleural thickening": own_code("PLEURAL_THICK", "Pleural thickening"),
    "support devices": own_code("SUPPORT_DEVICES", "Support devices"),
}
"""Labels of CheXpert, MIMIC-CXR, ChestX-ray14 and of the phantom → their codes."""
_SAME = {
    "edema": "pulmonary edema",
    "effusion": "pleural effusion",
    "infiltrate": "infiltration",
    "lung consolidation": "consolidation",
    "lung nodule": "nodule",
    "lung mass": "mass",
}
"""Other names of these labels."""
