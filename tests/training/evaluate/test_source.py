import pytest

from service.bundle.manifest import Bundle, load
from service.settings import DEMO_BUNDLE
from training.evaluate.encode import BundleEncoder
from training.evaluate.source import trained_fractions

DATA = {"source": "manifest", "path": "studies.parquet", "fractions": [0.5, 0.25, 0.25]}


def encoder(recipe):
    bundle = load(DEMO_BUNDLE)
    manifest = bundle.manifest.model_copy(update={"provenance": {"recipe": recipe}})
    return BundleEncoder(Bundle(bundle.path, manifest))


@pytest.mark.parametrize(
    "recipe",
    [
        {"data": DATA, "model": {"name": "phantom-tiny"}, "optimiser": {"epochs": 1}},
        {"data": DATA, "model": "phantom-tiny", "epochs": 1},
    ],
    ids=["with sections", "of an earlier version"],
)
def test_a_bundle_tells_how_its_studies_were_split(recipe):
    assert trained_fractions(encoder(recipe)) == (0.5, 0.25, 0.25)


def test_phantoms_are_split_by_nothing_that_a_manifest_has():
    assert trained_fractions(BundleEncoder(load(DEMO_BUNDLE))) is None
