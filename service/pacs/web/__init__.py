"""Reads studies from a DICOMweb service, and stores results in it."""
