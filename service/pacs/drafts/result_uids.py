"""Derives the UIDs of a result from what it was made of, so that the same input has the same UID.

The input is the images (their SOP Instance UIDs, in any order), the bundle, the version of this
program, the kind of writer that it is set to, and the request's `k` and `seed`. A study that is
sent again gives the same UID, and a PACS that has the draft keeps it. Another view of the study, a
new bundle or a new version gives another.

What the case library holds is left out: a library that grew adds no second draft of the same
images. Whether a language model is to write counts, not whether it did: one that failed the first
time adds no second draft, and a service that is given a language model writes another draft. That
there was no report counts too: it must not keep a later report out of a PACS.

The UIDs have the form of PS3.5 B.2, `2.25.` and a whole number, here 128 bits of a sha256.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from pydicom.dataset import Dataset

from service.reporting.report import Provenance, Report

_BITS = 128
Level = Literal["instance", "series"]


def result_uid(images: Sequence[Dataset], report: Report, level: Level = "instance") -> str:
    """Returns the SOP Instance UID of the draft about these images, or that of its series.

    images: their headers. A draft has a series of its own.
    """
    uids = sorted({str(image.SOPInstanceUID).strip() for image in images})
    made, generator = report.provenance, report.generator
    kind = "vllm" if generator.fallback else generator.kind
    made_by = [made.bundle_id, made.software, made.k, made.seed, kind, bool(report.abstained)]
    return derived_uid("draft", level, uids, made_by)


def device_uid(provenance: Provenance) -> str:
    """Returns the UID of the device that drafts: of one version with one bundle."""
    return derived_uid("device", provenance.bundle_id, provenance.software)


def derived_uid(*parts: object) -> str:
    """Returns the UID that belongs to these parts, which JSON can hold."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[: _BITS // 8], 'big')}"
