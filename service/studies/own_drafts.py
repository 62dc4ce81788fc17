"""Names what this program writes into the DICOM objects of its drafts, and by which it knows them.

A draft is no report: it must not become evidence for the next one.
"""

MANUFACTURER = "eCLIP Radiology"
"""Manufacturer (0008,0070) of every object that this program writes."""
OWN_SCHEME = "99ECLIP"
"""Designator of this program's own codes: private ones begin with 99 (PS3.3 8.2)."""
