"""Names everything that can go wrong, as a small tree of exceptions (docs/errors.md has a table).

Domain code raises these; `service.api` alone makes RFC 9457 problems of them. A `detail` says what
was wrong and what to do. It has no patient identifier, no caller's file name, no words of a report.
"""

from service.errors.base import EclipError as EclipError
from service.errors.bundle import BundleCorrupt as BundleCorrupt
from service.errors.bundle import BundleMismatch as BundleMismatch
from service.errors.bundle import BundleNotReady as BundleNotReady
from service.errors.bundle import BundleUnknown as BundleUnknown
from service.errors.bundle import MapUnavailable as MapUnavailable
from service.errors.bundle import MapUnvalidated as MapUnvalidated
from service.errors.bundle import SchemaMismatch as SchemaMismatch
from service.errors.bundle import TextUnavailable as TextUnavailable


class RequestMalformed(EclipError):
    """The request does not have the form that the contract describes."""

    type, title, status = "request/malformed", "Malformed request", 400


class NotAcceptable(EclipError):
    """The answer has none of the media types that the `Accept` header allows."""

    type, title, status = "request/not-acceptable", "Not acceptable", 406


class EncodingUnsupported(EclipError):
    """The request body is compressed (`Content-Encoding`)."""

    type, title, status = "request/encoding", "Unsupported content encoding", 415


class BodyTooSlow(EclipError):
    """The request body did not arrive in time."""

    type, title, status = "request/too-slow", "Request body too slow", 408


class BodyTooLarge(EclipError):
    """The request body is over the limit."""

    type, title, status = "request/too-large", "Request body too large", 413


class Unauthenticated(EclipError):
    """The request has no API key, or an unknown one."""

    type, title, status = "auth/unauthenticated", "Missing or unknown key", 401


class KeyExpired(Unauthenticated):
    """The API key is known, and its time is over."""

    type, title = "auth/expired", "Expired key"


class TooManyWrongKeys(EclipError):
    """The caller's address has sent many wrong API keys. A right key is answered all the same."""

    type, title, status = "auth/too-many-wrong-keys", "Too many wrong keys", 429


class ScopeMissing(EclipError):
    """The API key is known and lacks the scope that this endpoint needs."""

    type, title, status = "auth/scope-missing", "Key lacks the scope", 403


class ForeignRequest(EclipError):
    """A server without API keys was asked under a foreign host name or by another site's page."""

    type, title, status = "auth/foreign", "Foreign request", 403


class SettingInvalid(EclipError):
    """A setting is unknown, unsafe or names a file that cannot be read (command line only)."""

    type, title, status = "setting/invalid", "Invalid setting", 422


class ImageTooLarge(EclipError):
    """The image's bytes, or the pixels that its header declares, are over the limit."""

    type, title, status = "image/too-large", "Image too large", 413


class ImageUnsupported(EclipError):
    """The file is neither PNG nor JPEG nor a single-frame DICOM with pixels."""

    type, title, status = "image/unsupported", "Unsupported image", 415


class ImageUndecodable(EclipError):
    """The image has a supported type, and its bytes cannot be decoded."""

    type, title, status = "image/undecodable", "Undecodable image", 422


class ImageNotARadiograph(EclipError):
    """The image shows no upright chest, as its header or its pixels say."""

    type, title, status = "image/not-a-radiograph", "Not a radiograph", 422


class TextInvalid(EclipError):
    """A text is missing, empty or over a limit."""

    type, title, status = "text/invalid", "Invalid text", 422


class LabelsInvalid(EclipError):
    """The request's labels cannot be read, or are over a limit."""

    type, title, status = "labels/invalid", "Invalid labels", 422


class LabelsEmpty(LabelsInvalid):
    """There is no label, or a label has no prompt for its presence."""

    type, title = "labels/empty", "Empty labels"


class LabelSetUnknown(EclipError):
    """The bundle has no label set of this name."""

    type, title, status = "labels/unknown-set", "Unknown label set", 422


class StudyUnknown(EclipError):
    """The case library has no such study or image."""

    type, title, status = "study/unknown", "Unknown study", 404


class StudyInvalid(EclipError):
    """The study has neither a report nor an image, or something in it cannot be stored."""

    type, title, status = "study/invalid", "Invalid study", 422


class SourceUnreadable(EclipError):
    """The file or folder to be indexed cannot be read. Only the command line reports this."""

    type, title, status = "source/unreadable", "Unreadable source", 422


class AllItemsFailed(EclipError):
    """Every item of the batch failed. `items` gives the reason for each."""

    type, title, status = "batch/all-failed", "Every item failed", 422


class RecordUnknown(EclipError):
    """The audit log has no such record. Only the command line reports this."""

    type, title, status = "report/unknown", "Unknown report", 404


class ReportUngrounded(EclipError):
    """The language model's answer could not be read as a report with citations."""

    type, title, status = "llm/invalid-answer", "Language model gave no usable report", 502


class ReportCut(ReportUngrounded):
    """The language model's answer met its greatest length, or the end of the model's context."""

    type, title = "llm/cut-answer", "Language model's report was cut"


class LlmUnavailable(EclipError):
    """The language model's server does not answer, fails or is busy. Try again later."""

    type, title, status = "llm/unavailable", "Language model unavailable", 503


class LlmRefused(LlmUnavailable):
    """The language model's server refuses the request, and would again. `detail` has its words."""

    type, title, status = "llm/refused", "Language model refuses the request", 502


class QueueFull(EclipError):
    """All places for requests in progress are taken. `Retry-After` gives the seconds to wait."""

    type, title, status = "queue/full", "Queue full", 429


class MemoryShort(EclipError):
    """There is too little memory for the request. `Retry-After` gives the seconds to wait."""

    type, title, status = "memory/short", "Short of memory", 503


class ClusterUnavailable(EclipError):
    """The Ray cluster does not answer, or is full. Only the command line reports this."""

    type, title, status = "cluster/unavailable", "Cluster unavailable", 503


class StoreUnavailable(EclipError):
    """The engine that stores the cases, or the audit log, does not answer."""

    type, title, status = "store/unavailable", "Case store unavailable", 503


class StoreFull(StoreUnavailable):
    """A disk of the service has no room for what is to be stored. Reads and deletions go on."""

    type, title, status = "store/full", "Disk full", 507


class ReceivingOff(EclipError):
    """This server does not receive objects of a PACS."""

    type, title, status = "pacs/receiving-off", "Nothing is received here", 404


class ObjectDamaged(EclipError):
    """A received object that waited on the disk is damaged, and was set aside."""

    type, title, status = "spool/damaged", "Received object damaged", 500


class PeerUnavailable(EclipError):
    """A PACS or FHIR server does not answer, is too busy, or has a full disk. Try again later."""

    type, title, status = "peer/unavailable", "PACS or FHIR server unavailable", 503


class PeerRefused(EclipError):
    """A PACS or FHIR server refuses what it was asked or sent. Trying again would not help."""

    type, title, status = "peer/refused", "PACS or FHIR server refuses", 502


class DeadlineExceeded(EclipError):
    """The time for the request passed, or its client left. A deletion goes on to its end."""

    type, title, status = "deadline/exceeded", "Deadline exceeded", 504
