"""Decodes DICOM files: `decode` gives the radiograph, `identifiers` says whose it is."""
