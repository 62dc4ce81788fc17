import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import qdrant_edge as qdrant
from qdrant_client import QdrantClient

from service.cases import layout
from service.cases.base import CaseStore
from service.cases.edge import EdgeStore
from service.cases.library import CaseLibrary
from service.cases.places import renditions_of
from service.cases.points import INDEXED
from service.cases.schema import EmbeddedStudy, Identity, Image, Passage, Study, Vector
from service.cases.server import SERVER_DEFAULTS, CollectionLayout, ServerStore, connect
from service.imaging.deidentify import Pseudonymiser
from service.inference.encoder import Encoder

DIMENSION = 16
ROUNDED = 2**-10
"""How far a score of the embedded engine is from the cosine at most: stored numbers and those of
the query are rounded to float16, by 2 ** -11 of each at most."""
KEY = bytes(range(32))
IDENTITY = Identity(bundle_id="b" * 64, key_fingerprint="k" * 16, dimension=DIMENSION)


def unit_vector(name: str) -> Vector:
    vector = np.random.default_rng(crc32(name.encode())).standard_normal(DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def embedded_study(
    study_id: str,
    *,
    version: int = 1,
    patient_id: str | None = "patient",
    source: str = "ward",
    sections: tuple[str, ...] = ("findings", "impression"),
    views: tuple[str | None, ...] = ("PA",),
    report: bool = True,
    findings: tuple[str, ...] = (),
) -> EmbeddedStudy:
    """A study whose vectors are functions of its id and version: "s/1/passage/0" and so on."""
    name = f"{study_id}/{version}"
    passages = tuple(
        Passage(f"p{index}", section, f"Passage {index} of {name}.")
        for index, section in enumerate(sections)
    )
    images = tuple(Image(f"{name}/rendition/{index}", view) for index, view in enumerate(views))
    return EmbeddedStudy(
        Study(
            study_id=study_id,
            patient_id=patient_id,
            source=source,
            digest=f"digest of {name}",
            report=f"Report of {name}." if report else None,
            passages=passages,
            images=images,
            findings=findings,
            metadata={"age": 61, "dose": 2.0, "portable": True, "site": "north"},
        ),
        tuple(unit_vector(f"{name}/image/{index}") for index in range(len(images))),
        unit_vector(f"{name}/report") if report else None,
        tuple(unit_vector(f"{name}/passage/{index}") for index in range(len(passages))),
    )


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    """The demo bundle's, without a case library."""
    from service.settings import Settings
    from service.wiring import open_services  # slow, and the killed processes import this file

    with open_services(Settings(data_dir=tmp_path_factory.mktemp("encoder"))) as wired:
        yield wired.encoder


@pytest.fixture
def open_library(encoder: Encoder, tmp_path: Path) -> Iterator[Callable[..., CaseLibrary]]:
    """Opens a library of the demo bundle in a collection under `tmp_path`."""
    with ExitStack() as opened:

        def open_collection(collection: str = "studies", **other: object) -> CaseLibrary:
            manifest, pseudonyms = encoder.bundle.manifest, Pseudonymiser(KEY)
            identity = Identity(manifest.id, pseudonyms.fingerprint, manifest.dimension, **other)
            store = EdgeStore(tmp_path / collection, identity, erases=False)
            opened.callback(store.close)
            renditions = renditions_of(tmp_path, collection)
            return CaseLibrary(store, encoder, pseudonyms, renditions)

        yield open_collection


@pytest.fixture
def library(open_library: Callable[..., CaseLibrary]) -> CaseLibrary:
    return open_library()


@pytest.fixture(scope="session")
def vector() -> Callable[[str], Vector]:
    return unit_vector


@pytest.fixture(scope="session")
def study() -> Callable[..., EmbeddedStudy]:
    return embedded_study


@pytest.fixture
def path() -> Iterator[Path]:
    """A directory for a library, in memory where there is room: tests wait for many fsyncs."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 512 * 2**20
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as directory:
        yield Path(directory) / "cases"


@pytest.fixture
def open_edge(path: Path) -> Callable[..., EdgeStore]:
    def open_store(*, erases: bool = False, bulk: bool = False, **other: object) -> EdgeStore:
        return EdgeStore(path, replace(IDENTITY, **other), erases=erases, bulk=bulk)

    return open_store


@pytest.fixture
def earlier(path):
    """An empty library as an earlier release made it: one shard for all kinds of points."""
    collection = path / "collection"
    collection.mkdir(parents=True)
    engine = qdrant.EdgeShard.create(str(collection / "shard"), layout._earlier_config(16))
    for key in INDEXED:
        keyword = qdrant.PayloadSchemaType.Keyword
        engine.update(qdrant.UpdateOperation.create_field_index(key, keyword))
    engine.flush()
    engine.close()
    (collection / "identity.json").write_text(json.dumps(asdict(IDENTITY)))


@pytest.fixture
def open_server() -> Callable[..., ServerStore]:
    def open_store(
        client: QdrantClient, layout: CollectionLayout = SERVER_DEFAULTS, **other: object
    ) -> ServerStore:
        return ServerStore(client, "cases", replace(IDENTITY, **other), layout)

    return open_store


@pytest.fixture
def edge(open_edge: Callable[..., EdgeStore]) -> Iterator[EdgeStore]:
    store = open_edge()
    yield store
    store.close()


@pytest.fixture
def server(open_server: Callable[..., ServerStore]) -> Iterator[ServerStore]:
    """On the server of QDRANT_URL where there is one, else on the client's own engine."""
    url = os.environ.get("QDRANT_URL")
    client = connect(url) if url else QdrantClient(":memory:")
    client.delete_collection("cases")
    store = open_server(client)
    yield store
    client.delete_collection("cases")
    store.close()


@pytest.fixture(params=["edge", "server"])
def store(request: pytest.FixtureRequest) -> CaseStore:
    return request.getfixturevalue(request.param)
