"""Reads studies from a DICOM node, and stores results in it, over DIMSE."""
