"""Writes a report as a DICOM structured report and as a FHIR transaction."""
