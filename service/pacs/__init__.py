"""Takes studies in from a PACS, and gives draft reports back to it.

`archive` is what a PACS can be asked, over DICOMweb or DIMSE; `destination` is where results go.
"""
