"""Opens what is measured: a bundle, or a run's folder."""

from pathlib import Path

from service.bundle.manifest import load
from training.data.spec import Fractions
from training.evaluate.encode import BundleEncoder, DualEncoder, TorchEncoder
from training.run.folder import is_run, load_run


def open_encoder(source: Path) -> DualEncoder:
    """Returns the encoder of a run's folder or a bundle; raises BundleCorrupt if it is neither."""
    if is_run(source):
        return TorchEncoder(load_run(source)[1])
    return BundleEncoder(load(source))


def trained_fractions(encoder: DualEncoder) -> Fractions | None:
    """Returns the fractions of patients by which the encoder's recipe split its studies.

    None if the encoder has no recipe or its studies were phantoms.
    """
    if isinstance(encoder, BundleEncoder):
        provenance = encoder.bundle.manifest.provenance
    elif isinstance(encoder, TorchEncoder):
        provenance = encoder.clip.provenance
    else:
        return None
    match provenance.get("recipe"):
        case {"data": {"fractions": [float() | int() as train, float() | int() as held, _]}}:
            return train, held, 1 - train - held
    return None


def named(encoder: DualEncoder, source: Path) -> str:
    """Returns a bundle's name, version and id, or the name of a run's folder."""
    if not isinstance(encoder, BundleEncoder):
        return source.name
    manifest = encoder.bundle.manifest
    return f"{manifest.name} {manifest.version} ({manifest.id[:12]})"
