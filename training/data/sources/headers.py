"""Reads from DICOM headers what the tables of a data set leave out."""

from pathlib import Path

import pydicom

from service.imaging.libraries import decoding
from training.data.study import DataError


class NotDicom(DataError):
    """A file whose header is not DICOM, or is damaged."""


def view_position(path: Path) -> str | None:
    """Returns ViewPosition, for example PA; None where the header has none. Raises NotDicom."""
    try:
        with decoding:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["ViewPosition"])
            return str(header.get("ViewPosition") or "") or None
    except OSError:
        raise
    except Exception as error:  # pydicom raises whatever a damaged header makes of it
        raise NotDicom(f"{path.name} is not a DICOM file; download it again") from error
