"""Takes studies in from a PACS, and gives draft reports back to it.

`archive.py` says what a PACS can be asked, and `destination.py` where results go; `web` and `node`
are both over DICOMweb and over DIMSE. `pull` reads studies into the case library. `receive` takes
objects in, `desk` makes drafts of them, and `drafts` writes these as DICOM and as FHIR.
"""
