"""Names what can go wrong with a bundle: what it lacks, and why it cannot be served."""

from service.errors.base import EclipError


class BundleUnknown(EclipError):
    """The server does not serve the bundle that the request names."""

    type, title, status = "bundle/unknown", "Unknown bundle", 404


class BundleMismatch(EclipError):
    """The case library was written by another bundle, or with another key of the references."""

    type, title, status = "bundle/mismatch", "Case library belongs to another bundle", 409


class SchemaMismatch(BundleMismatch):
    """Another version of this program wrote the case library."""

    type, title = "library/schema", "Case library of another schema version"


class MapUnavailable(EclipError):
    """The bundle's image model has no output from which the map could be made."""

    type, title, status = "bundle/no-patches", "Bundle has no such map", 422


class MapUnvalidated(MapUnavailable):
    """The map was measured no better than the middle of the image, or never measured."""

    type, title = "map/unvalidated", "Map is not validated"


class TextUnavailable(EclipError):
    """The bundle encodes images alone: it has no text model."""

    type, title, status = "bundle/no-text", "Bundle has no text model", 422


class BundleNotReady(EclipError):
    """The bundle cannot be loaded here, or failed its self-test."""

    type, title, status = "bundle/not-ready", "Bundle not ready", 503


class BundleCorrupt(BundleNotReady):
    """A file of the bundle is missing, or differs from what the manifest records."""

    type, title = "bundle/corrupt", "Corrupt bundle"
