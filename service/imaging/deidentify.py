"""Hides identifiers: it picks the DICOM attributes that may be kept, and hashes ids with a key.

Only coded or technical attributes are kept, and of these only values that cannot point at a person.
Free text, dates, names and UIDs are never kept. When a study was made is kept, moved by years
(compare PS3.15 E, Basic Application Confidentiality Profile).
"""

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NewType

from pydicom.dataset import Dataset

from service.files import make_folder, sync
from service.identifiers import canonical

StudyRef = NewType("StudyRef", str)
"""Keyed hash of a study's id: `stu_` and 32 hexadecimal digits."""
PatientRef = NewType("PatientRef", str)
"""Keyed hash of a patient's id: `pat_` and 32 hexadecimal digits."""
ALLOWED = {
    "Modality": "CR|DX|RG|OT|SC",
    "ViewPosition": "AP|PA|LL|RL|RLD|LLD|RLO|LLO|LAT|LATERAL",
    "PhotometricInterpretation": "MONOCHROME[12]|RGB|YBR_[A-Z0-9_]+",
    "Rows": r"\d+",
    "Columns": r"\d+",
    "BitsStored": r"\d+",
    "VOILUTFunction": "LINEAR|LINEAR_EXACT|SIGMOID",
    "PresentationLUTShape": "IDENTITY|INVERSE",
}
"""DICOM attribute → pattern of the values that are kept. A name in a coded field does not match."""
KEY_BYTES = 32
"""Bytes: the length of a new key, and the least of any key."""
SHIFT = 5 * 365 * 24 * 60
"""Minutes: the greatest offset of a patient's moments, 5 years."""
_STUDY = re.compile(r"stu_[0-9a-f]{32}")
_PATIENT = re.compile(r"pat_[0-9a-f]{32}")


def allowed_tags(dataset: Dataset) -> dict[str, str]:
    """Returns the attributes of `ALLOWED` that hold an allowed value, as text."""
    values = {name: str(dataset.get(name, "")).strip() for name in ALLOWED}
    return {name: v for name, v in values.items() if re.fullmatch(ALLOWED[name], v)}


class Pseudonymiser:
    """Hashes patient ids, study ids and texts with a key (HMAC-SHA256).

    Without the key nobody can reverse a hash. A reference is returned as it is, so that a caller
    may send one back as an id. `service.identifiers` says which ids are the same, and which are
    refused (RequestMalformed).
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"The key must have at least {KEY_BYTES} bytes.")
        self._key = key

    def study(self, study_id: str) -> StudyRef:
        """Returns the reference of a study; a reference is returned as it is."""
        plain = canonical(study_id)
        return StudyRef(plain if _STUDY.fullmatch(plain) else f"stu_{self._digest('study', plain)}")

    def patient(self, patient_id: str) -> PatientRef:
        """Returns the reference of a patient; a reference is returned as it is."""
        plain = canonical(patient_id)
        return PatientRef(
            plain if _PATIENT.fullmatch(plain) else f"pat_{self._digest('patient', plain)}"
        )

    def shift(self, patient: PatientRef) -> int:
        """Returns the patient's secret offset, in minutes: up to `SHIFT` back or forth.

        Added to all moments of a patient, it keeps their order and intervals, and hides the dates
        (PS3.15 E.3.6, Retain Longitudinal Temporal Information with Modified Dates).
        """
        return int(self._digest("moment", patient), 16) % (2 * SHIFT + 1) - SHIFT

    def shifted(self, moment: int | None, patient: PatientRef | None) -> int | None:
        """Returns a moment, in minutes, as it may be stored; None without one or a patient."""
        return None if moment is None or patient is None else moment + self.shift(patient)

    def text(self, text: str) -> str:
        """Returns the hash of words that may name somebody: `txt_` and 32 hexadecimal digits."""
        return f"txt_{self._digest('text', text)}"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ between two keys and reveal neither."""
        return self._digest("fingerprint", "")[:16]

    def _digest(self, domain: str, value: str) -> str:
        plain = unicodedata.normalize("NFC", value.strip("\0 \t\r\n"))
        message = f"{domain}\0{plain}".encode(errors="surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]


def load_or_create_key(path: Path) -> bytes:
    """Returns the key in `path`. The first process to ask makes it, readable by its owner only.

    Raises ValueError, and replaces nothing, if the file holds no key.
    """
    if not path.exists():
        _create_key(path)
    try:
        key = bytes.fromhex(path.read_text())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"{path} does not hold a key: it is damaged. Restore it from a backup. Without it no "
            "stored study can be found by its own id."
        )
    return key


def _create_key(path: Path) -> None:
    """Writes a key to a draft and links it to `path`, unless another process was first."""
    make_folder(path.parent)
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as draft:  # mode 0600
        draft.write(secrets.token_hex(KEY_BYTES))
        draft.flush()
        os.fsync(draft.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft.name)
    sync(path.parent)
