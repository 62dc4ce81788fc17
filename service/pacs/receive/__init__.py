"""Receives DICOM objects, and keeps each encrypted on the disk before it is acknowledged."""
