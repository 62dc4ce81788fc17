"""Opens every part of the service by its settings: models, case library, reports."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import HttpUrl, SecretStr
from qdrant_client import QdrantClient

from service.api.context import Services
from service.bundle.manifest import Bundle, load
from service.cases.aliases import collection_behind
from service.cases.base import CaseStore
from service.cases.calibration import calibrating
from service.cases.copying import require_same_key
from service.cases.edge import EdgeStore
from service.cases.embedding import StudyEncoder
from service.cases.library import CaseLibrary
from service.cases.places import holds_library, open_existing, renditions_of, sweep
from service.cases.renditions import Renditions
from service.cases.schema import Identity
from service.cases.server import ServerStore, connect
from service.cases.server_layout import CollectionLayout
from service.cases.tally import Tally
from service.deadline import Deadline
from service.errors import ClusterUnavailable, StoreUnavailable
from service.files import disk_errors
from service.imaging.decode import ImageLimits
from service.imaging.deidentify import Pseudonymiser, load_or_create_key
from service.inference.admission import Admission
from service.inference.batching import Bounds
from service.inference.encoder import Encoder
from service.inference.maps import Mapper
from service.inference.self_test import self_test
from service.inference.session import Towers
from service.inference.zero_shot import Classifier
from service.memory import DecodingMemory, return_freed_memory
from service.reporting.audit import AuditLog
from service.reporting.audit_erasure import remove_drafts
from service.reporting.llm.language_model import LanguageModel
from service.reporting.pipeline import Reporter
from service.settings import Settings
from service.telemetry import log
from service.tracing import sending_spans

STARTUP_S = 120.0
"""Seconds that encoding the bundle's labels may take at the start."""


@contextmanager
def open_services(settings: Settings, *, bulk: bool = False) -> Iterator[Services]:
    """Gives every part of the service, opened in order, and closes them in reverse order.

    The command line uses the same parts. bulk: see `EdgeStore`.
    """
    return_freed_memory()
    with (
        sending_spans(_text(settings.otlp_url)) as tracer,
        _encoder(settings) as encoder,
        open_library(settings, encoder, bulk=bulk) as library,
    ):
        bundle = encoder.bundle
        classifiers = {
            name: Classifier(labels, encoder, Deadline(STARTUP_S))
            for name, labels in bundle.label_sets.root.items()
        }
        with open_language_model(settings) as language_model:
            first = next(iter(classifiers.values()), None)
            audit = AuditLog(_audit_folder(settings), library.pseudonyms)
            remove_drafts(audit.directory)
            mapper = Mapper(encoder)
            reporter = Reporter(encoder, library, first, mapper, language_model, audit)
            log().info("ready", bundle=bundle.manifest.name, studies=library.store.count())
            admission = Admission(settings.queue_items, lambda: encoder.seconds_per_image)
            yield Services(
                settings, bundle, encoder, admission, classifiers, mapper, library, reporter, tracer
            )


def open_audit_log(settings: Settings) -> AuditLog:
    """Returns the settings' audit log alone. Raises StoreUnavailable if it was never written."""
    key = _key_file(settings.data_dir)
    if not key.exists():
        raise StoreUnavailable(
            "identifiers.key is missing: the data directory was never used, or the key must be "
            "restored from a backup. Without it no patient can be found in the audit log."
        )
    return AuditLog(_audit_folder(settings), Pseudonymiser(load_or_create_key(key)))


def _audit_folder(settings: Settings) -> Path:
    return settings.data_dir / "audit"


@contextmanager
def open_library_on_ray(
    settings: Settings, address: str, encoders: int, gpus: float
) -> Iterator[CaseLibrary]:
    """Gives the case library alone, which encodes on a Ray cluster.

    address: of the cluster, or "local". encoders: processes, each with the settings' cores. gpus:
    of each encoder. Raises ClusterUnavailable.
    """
    try:
        from service.inference.cluster import Cluster, on_cluster
    except ImportError:
        raise ClusterUnavailable(
            "Encoding on a cluster needs Ray. Install eclip-radiology[bulk]."
        ) from None

    without_secrets: dict[str, Any] = {
        "api_keys": {},
        "llm_api_key": None,
        "llm_proxy": None,  # its address can hold a password
        "qdrant_api_key": None,
        "pacs_token": None,
        "pacs_password": None,
        "fhir_token": None,
    }
    on_worker = settings.model_copy(update=without_secrets | {"bundle": settings.bundle.resolve()})
    with (
        on_cluster(
            Cluster(address, encoders, settings.cores, gpus),
            load(settings.bundle),
            partial(_open_encoder, on_worker),
            settings.max_text_chars,
        ) as encoder,
        open_library(settings, encoder, bulk=True) as library,
    ):
        yield library


@contextmanager
def open_other_library(settings: Settings, name: str) -> Iterator[tuple[CaseStore, Renditions]]:
    """Gives a library to copy into the settings' own; see `service.cases.places.open_existing`.

    Raises BundleMismatch if it has another hash key. Nothing of the settings' own is made before.
    """
    connecting = None if settings.qdrant_url is None else partial(connect_to_qdrant, settings)
    with open_existing(name, settings.data_dir, connecting) as (store, renditions):
        require_same_key(store, _key_fingerprint(settings.data_dir))
        yield store, renditions


@contextmanager
def open_own_library(settings: Settings) -> Iterator[tuple[CaseStore, Renditions]]:
    """Gives the settings' library, of any bundle, to a command that needs no model.

    Raises StoreUnavailable if there is none.
    """
    data_dir, name = settings.data_dir, settings.collection
    if settings.qdrant_url is None:
        store: CaseStore = EdgeStore.existing(data_dir / name)
    else:
        client = connect_to_qdrant(settings)
        name = collection_behind(client, name)
        store = ServerStore.existing(client, name)
    store.tally = Tally(data_dir / f"{name}.count")
    try:
        renditions = renditions_of(data_dir, name)
        sweep(store, renditions)
        yield store, renditions
    finally:
        store.close()


@contextmanager
def _encoder(settings: Settings) -> Iterator[Encoder]:
    encoder = _open_encoder(settings)
    try:
        yield encoder
    finally:
        encoder.close()


def _open_encoder(settings: Settings) -> Encoder:
    bundle = load(settings.bundle)
    towers = Towers(
        bundle,
        settings.providers,
        cores=settings.cores,
        threads=settings.threads,
        precision=settings.precision,
    )
    batch = towers.max_batch(min(settings.max_batch, settings.queue_items))
    self_test(bundle, towers, batch)
    return Encoder(
        bundle,
        towers,
        ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        Bounds(
            batch=batch,
            items=settings.queue_items,
            calls=towers.calls,
            hold=not towers.on_cpu,
        ),
        decoders=settings.cores,
        memory=DecodingMemory(settings.decoding_bytes),
        max_text_chars=settings.max_text_chars,
        cache_items=settings.cache_items,
    )


@contextmanager
def open_library(
    settings: Settings, encoder: StudyEncoder, *, bulk: bool = False
) -> Iterator[CaseLibrary]:
    """Gives the settings' case library, written through this encoder. bulk: see `EdgeStore`."""
    data_dir, reserve = settings.data_dir, settings.disk_reserve_bytes
    require_key(data_dir)
    with disk_errors("the key of the references"):
        key = Pseudonymiser(load_or_create_key(_key_file(data_dir)))
    store, name = _open_store(settings, encoder.bundle, key.fingerprint, bulk=bulk)
    store.tally = Tally(data_dir / f"{name}.count")
    try:
        renditions = renditions_of(data_dir, name, reserve)
        sweep(store, renditions)
        with nullcontext() if bulk else calibrating(store, data_dir / f"{name}.calibration"):
            yield CaseLibrary(store, encoder, key, renditions)
    finally:
        store.close()


def _key_file(data_dir: Path) -> Path:
    return data_dir / "identifiers.key"


def _key_fingerprint(data_dir: Path) -> str | None:
    """Returns the fingerprint of the hash key, or None before there is a key."""
    require_key(data_dir)
    path = _key_file(data_dir)
    return Pseudonymiser(load_or_create_key(path)).fingerprint if path.exists() else None


def require_key(data_dir: Path) -> None:
    """Raises StoreUnavailable if there is a library whose key is gone. A key comes before it."""
    if holds_library(data_dir) and not _key_file(data_dir).exists():
        raise StoreUnavailable(
            "identifiers.key is missing: restore it from a backup. The case library in the data "
            "directory was written with it, and without it no stored study can be found by its own "
            "id."
        )


def _open_store(
    settings: Settings, bundle: Bundle, key_fingerprint: str, *, bulk: bool
) -> tuple[CaseStore, str]:
    """Returns the store and its name: of its directory, or of its collection behind an alias."""
    identity = Identity(bundle.manifest.id, key_fingerprint, bundle.manifest.dimension)
    if settings.qdrant_url is None:
        name = settings.collection
        path, reserve = settings.data_dir / name, settings.disk_reserve_bytes
        return EdgeStore(path, identity, reserve, bulk=bulk), name
    layout = CollectionLayout(
        shards=settings.qdrant_shards,
        replicas=settings.qdrant_replicas,
        write_consistency_factor=settings.qdrant_written,
        on_disk=settings.qdrant_on_disk,
        number=settings.qdrant_number,
        quantization=settings.qdrant_quantization,
    )
    client = connect_to_qdrant(settings)
    name = collection_behind(client, settings.collection)
    return ServerStore(client, name, identity, layout), name


def connect_to_qdrant(settings: Settings) -> QdrantClient:
    """Returns a client of the settings' Qdrant server. The settings must name one."""
    return connect(str(settings.qdrant_url), api_key=_plain(settings.qdrant_api_key))


@contextmanager
def open_language_model(settings: Settings) -> Iterator[LanguageModel | None]:
    """Gives the settings' language model, or None when reports are extractive."""
    if not settings.llm_url:
        yield None
        return
    model = LanguageModel(
        [str(url) for url in settings.llm_url],
        _plain(settings.llm_api_key),
        model=settings.llm_model,
        proxy=_text(settings.llm_proxy),
        timeout_s=settings.llm_timeout_s,
        max_tokens=settings.llm_max_tokens,
        at_once=settings.llm_at_once,
    )
    try:
        yield model
    finally:
        model.close()


def _text(url: HttpUrl | None) -> str | None:
    return None if url is None else str(url)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
