"""Decodes radiographs and hides what identifies a patient.

pydicom is loaded here, without gdcm. Where gdcm is installed, pydicom would load it with itself,
and with it the old copies of OpenSSL, expat and OpenJPEG that its wheel carries. Only the process
that decodes one frame loads them (`service.imaging.dicom.codec_process`).
"""

import sys

if "gdcm" not in sys.modules:
    sys.modules["gdcm"] = None  # type: ignore[assignment]  # importing it raises ImportError
    import pydicom.pixels  # noqa: F401

    del sys.modules["gdcm"]
