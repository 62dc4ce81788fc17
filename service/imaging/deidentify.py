"""What may leave the decoder, and how identifiers are hidden.

Only coded or technical attributes pass, and of them only values that cannot point at a person; free
text, dates, names and UIDs never do (cf. PS3.15 E, Basic Application Confidentiality Profile).
"""

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import NewType

from pydicom.dataset import Dataset

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
"""Attribute → the values that may pass: a name typed into a coded field stops here."""
KEY_BYTES = 32
_STUDY = re.compile(r"stu_[0-9a-f]{32}")
_PATIENT = re.compile(r"pat_[0-9a-f]{32}")


def allowed_tags(dataset: Dataset) -> dict[str, str]:
    """The allow-listed attributes that hold an allowed value, as text."""
    values = {name: str(dataset.get(name, "")).strip() for name in ALLOWED}
    return {name: v for name, v in values.items() if re.fullmatch(ALLOWED[name], v)}


class Pseudonymiser:
    """Keyed hashes (HMAC-SHA256) of patient and study ids, and of texts; without the key nobody
    can reverse them.

    A reference that this class made passes unchanged, so that answers can be sent back as ids.
    Blanks around an id do not count, as DICOM pads its values with them (PS3.5 6.2), nor does the
    Unicode form of its letters.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"the key must have at least {KEY_BYTES} bytes")
        self._key = key

    def study(self, study_id: str) -> StudyRef:
        """Returns the reference of a study; a reference is returned as it is."""
        if _STUDY.fullmatch(study_id):
            return StudyRef(study_id)
        return StudyRef(f"stu_{self._digest('study', study_id)}")

    def patient(self, patient_id: str) -> PatientRef:
        """Returns the reference of a patient; a reference is returned as it is."""
        if _PATIENT.fullmatch(patient_id):
            return PatientRef(patient_id)
        return PatientRef(f"pat_{self._digest('patient', patient_id)}")

    def text(self, text: str) -> str:
        """`txt_` and 32 hexadecimal digits: of words that may name somebody."""
        return f"txt_{self._digest('text', text)}"

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart; 16 hexadecimal digits."""
        return self._digest("fingerprint", "")[:16]

    def _digest(self, domain: str, value: str) -> str:
        plain = unicodedata.normalize("NFC", value.strip("\0 \t\r\n"))
        message = f"{domain}\0{plain}".encode(errors="surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]


def load_or_create_key(path: Path) -> bytes:
    """The key kept in `path`; the first process to ask makes it, readable by its owner only.

    Raises ValueError, and replaces nothing, when the file holds no key.
    """
    if not path.exists():
        _create_key(path)
    try:
        key = bytes.fromhex(path.read_text())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"{path} is damaged; restore it from a back-up. Without it no stored study can be "
            "found by its own id again."
        )
    return key


def _create_key(path: Path) -> None:
    """Write the key aside and link it into place whole, unless another process was first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
