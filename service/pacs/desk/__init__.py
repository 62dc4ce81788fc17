"""Turns received objects into draft reports, and gives these to the PACS and the FHIR server."""
