"""The error taxonomy: what can go wrong, as types.

Domain code raises these; `service.api` alone turns them into RFC 9457 problem+json.
A `detail` says what was wrong and how to mend it, and never holds a patient identifier,
a file name given by a caller or a piece of a report.
"""

from typing import Any, ClassVar


class EclipError(Exception):
    """Root of the taxonomy. `type` is a stable URN suffix, `status` the HTTP status it maps to."""

    type: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(
        self,
        detail: str,
        *,
        retry_after_s: float | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.extensions = extensions or {}

    @property
    def urn(self) -> str:
        """The stable identifier a client may switch on."""
        return f"urn:eclip:{self.type}"


class RequestMalformed(EclipError):
    """The request is not in the form the contract describes."""

    type, title, status = "request/malformed", "Malformed request", 400


class Unauthenticated(EclipError):
    """No key, or a key nobody issued."""

    type, title, status = "auth/unauthenticated", "Missing or unknown key", 401


class ScopeMissing(EclipError):
    """A known key without the scope this endpoint needs."""

    type, title, status = "auth/scope-missing", "Key lacks the scope", 403


class ForeignRequest(EclipError):
    """A server without keys was asked under another name, or by another site's page."""

    type, title, status = "auth/foreign", "Foreign request", 403


class BundleUnknown(EclipError):
    """The caller named a bundle that this server does not serve."""

    type, title, status = "bundle/unknown", "Unknown bundle", 404


class StudyUnknown(EclipError):
    """No such study in the case library."""

    type, title, status = "study/unknown", "Unknown study", 404


class BundleMismatch(EclipError):
    """The collection's vectors were written by another bundle (or with another hash key)."""

    type, title, status = "bundle/mismatch", "Collection belongs to another bundle", 409


class SchemaMismatch(BundleMismatch):
    """Another version of this program wrote the case library."""

    type, title = "library/schema", "Case library of another schema version"


class BodyTooSlow(EclipError):
    """The request body did not arrive in time."""

    type, title, status = "request/too-slow", "Request body too slow", 408


class BodyTooLarge(EclipError):
    """The request body is over the cap."""

    type, title, status = "request/too-large", "Request body too large", 413


class ImageTooLarge(EclipError):
    """Bytes or declared pixels over the cap, decided before decoding."""

    type, title, status = "image/too-large", "Image too large", 413


class ImageUnsupported(EclipError):
    """Not PNG, JPEG or single-frame DICOM with pixels."""

    type, title, status = "image/unsupported", "Unsupported image", 415


class ImageUndecodable(EclipError):
    """A supported type whose bytes cannot be decoded."""

    type, title, status = "image/undecodable", "Undecodable image", 422


class ImageNotARadiograph(EclipError):
    """It cannot be a radiograph: constant, far too small or far too long."""

    type, title, status = "image/not-a-radiograph", "Not a radiograph", 422


class LabelsInvalid(EclipError):
    """Labels given by the caller are empty or over a bound."""

    type, title, status = "labels/invalid", "Invalid labels", 422


class LabelsEmpty(LabelsInvalid):
    """No label, or a label without a positive prompt."""

    type, title = "labels/empty", "Empty labels"


class LabelSetUnknown(EclipError):
    """A label set that the bundle does not hold."""

    type, title, status = "labels/unknown-set", "Unknown label set", 422


class TextInvalid(EclipError):
    """A text that is empty or over a bound."""

    type, title, status = "text/invalid", "Invalid text", 422


class StudyInvalid(EclipError):
    """A study with neither report nor image, or over a bound."""

    type, title, status = "study/invalid", "Invalid study", 422


class SourceUnreadable(EclipError):
    """What should be indexed is of no known kind."""

    type, title, status = "source/unreadable", "Unreadable source", 422


class RecordUnknown(EclipError):
    """The audit log has no such record."""

    type, title, status = "report/unknown", "Unknown report", 404


class PatchesUnavailable(EclipError):
    """The bundle's image tower yields no patch embeddings."""

    type, title, status = "bundle/no-patches", "Bundle has no patch embeddings", 422


class AllItemsFailed(EclipError):
    """Every item of a batch failed; the per-item errors travel beside this one."""

    type, title, status = "batch/all-failed", "Every item failed", 422


class QueueFull(EclipError):
    """The bounded queue has no place."""

    type, title, status = "queue/full", "Queue full", 429


class ReportUngrounded(EclipError):
    """The language model's answer could not be read as a cited report."""

    type, title, status = "llm/invalid-answer", "Language model gave no usable report", 502


class BundleNotReady(EclipError):
    """The bundle is still loading or failed its self-test."""

    type, title, status = "bundle/not-ready", "Bundle not ready", 503


class BundleCorrupt(BundleNotReady):
    """A bundle file is missing or its bytes differ from what the manifest records."""

    type, title = "bundle/corrupt", "Corrupt bundle"


class LlmUnavailable(EclipError):
    """The language model server does not answer."""

    type, title, status = "llm/unavailable", "Language model unavailable", 503


class ClusterUnavailable(EclipError):
    """The Ray cluster does not answer, or cannot run what is asked of it."""

    type, title, status = "cluster/unavailable", "Cluster unavailable", 503


class StoreUnavailable(EclipError):
    """The case store does not answer."""

    type, title, status = "store/unavailable", "Case store unavailable", 503


class DeadlineExceeded(EclipError):
    """The request's deadline passed, or its client left; its queued work was cancelled."""

    type, title, status = "deadline/exceeded", "Deadline exceeded", 504
