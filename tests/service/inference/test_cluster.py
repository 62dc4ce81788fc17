import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice

import psutil
import pytest
import ray

from service.bundle.manifest import IMAGE_TOWER, load, seal
from service.cases.ingest import Outcome, ingest, ingest_in_batches, total
from service.cases.library import Query
from service.cases.records import NewStudy, StudyRecord
from service.cases.schema import EVERYTHING, NOBODY
from service.cases.sources import open_source
from service.deadline import Deadline
from service.errors import BundleNotReady, ClusterUnavailable, DeadlineExceeded, StudyInvalid
from service.inference import cluster
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY, Settings
from service.wiring import _open_encoder, open_library_on_ray, open_services
from tests.support.changed_bundles import mix_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path / "var", cores=1)


def of_one_process(settings, path):
    """What the same studies become when this process encodes them."""
    key = (settings.data_dir / "identifiers.key").read_bytes()
    alone = settings.model_copy(update={"data_dir": path})
    path.mkdir()
    (path / "identifiers.key").write_bytes(key)
    with open_services(alone) as wired:
        ingest(wired.library, open_source(DEMO_LIBRARY).entries)
        return stored(wired.library)


def stored(library):
    return {one.study.study_id: one for one in library.store.studies()}


def encoders():
    """Those of this process's cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).startswith("ray::_Worker"):
                found.append(process)
    return found


@contextmanager
def killing(after_s, outcomes):
    """Kill one encoder when it has worked for a while; how much was done by then."""

    def kill():
        time.sleep(after_s)
        victim = encoders()[0]
        victim.kill()
        return victim.pid, sum(outcome.studies for outcome in outcomes)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(kill)


def test_an_encoder_that_is_killed_costs_no_study_and_doubles_none(settings, tmp_path):
    outcomes = []
    with open_library_on_ray(settings, "local", encoders=2, gpus=0) as library:
        with killing(0.5, outcomes) as killed:
            entries = open_source(DEMO_LIBRARY).entries
            for outcome in ingest_in_batches(library, entries, at_once=4):
                outcomes.append(outcome)
        victim, done = killed.result()
        assert done < 240, "it was killed too late"
        assert victim not in {one.pid for one in encoders()}
        ours = stored(library)
        assert len(encoders()) == 2
    assert total(outcomes) == Outcome(240)
    theirs = of_one_process(settings, tmp_path / "alone")
    assert ours.keys() == theirs.keys()
    for study_id, one in ours.items():
        other = theirs[study_id]
        assert one.study == other.study
        assert one.report_vector @ other.report_vector == pytest.approx(1, abs=1e-3)
        for mine, its in zip(one.image_vectors, other.image_vectors, strict=True):
            assert mine @ its == pytest.approx(1, abs=1e-3)


POISON = b"ends the encoder that reads it"


class Poisoned:
    """An encoder whose process ends at an image with the mark; it notes each end in a file."""

    def __init__(self, encoder, ends):
        self._encoder, self._ends, self.bundle = encoder, ends, encoder.bundle

    def radiographs(self, items, deadline, side):
        if any(item.endswith(POISON) for item in items):
            with self._ends.open("a") as file:
                file.write("x")
            os._exit(1)
        return self._encoder.radiographs(items, deadline, side)

    def texts(self, texts, deadline):
        return self._encoder.texts(texts, deadline)


def open_poisoned(settings, ends):
    return Poisoned(_open_encoder(settings), ends)


def with_poison(entries, numbers):
    """The entries; those with these numbers, from 1, have a marked image."""
    for number, entry in enumerate(entries, start=1):
        if number in numbers:
            marked = tuple(image + POISON for image in entry.study.images)
            yield replace(entry, study=replace(entry.study, images=marked))
        else:
            yield entry


def test_an_image_that_ends_its_encoder_is_one_reject_and_the_run_goes_on(
    settings, tmp_path, monkeypatch
):
    """Two batches share the one encoder, so each of its ends costs calls of good images too."""
    ends = tmp_path / "ends"
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr("service.wiring._open_encoder", partial(open_poisoned, ends=ends))
    with open_library_on_ray(settings, "local", encoders=1, gpus=0) as library:
        entries = list(islice(open_source(DEMO_LIBRARY).entries, 40))
        outcome = ingest(library, with_poison(entries, {9}), at_once=2)
        assert library.store.count() == outcome.stored == 39
    (rejected,) = outcome.rejected
    assert (rejected.number, rejected.place) == (9, entries[8].place)
    assert "ended every encoder" in rejected.reason
    assert len(ends.read_text()) == 1 + cluster.TRIES_ALONE


def test_a_bad_study_gets_the_same_error_as_here_and_a_call_keeps_its_deadline(settings):
    good = StudyRecord(report="Clear.")
    with open_library_on_ray(settings, "local", encoders=1, gpus=0) as library:
        bad, fine, late = library.put_many(
            [
                NewStudy("a", good, (b"not an image",)),
                NewStudy("b", good, ()),
                NewStudy("c", StudyRecord(), ()),
            ],
            Deadline(60, bulk=True),
        )
        assert bad.type == "image/unsupported"
        assert fine.study_id == library.pseudonyms.study("b")
        assert isinstance(late, StudyInvalid)
        (late,) = library.put_many([NewStudy("d", good, ())], Deadline(0.001))
        assert isinstance(late, DeadlineExceeded)
        assert library.store.count(EVERYTHING) == 1
        assert library.search(fine_vector(library), Query("report", 1, NOBODY))[0].text == "Clear."


def fine_vector(library):
    return next(library.store.studies()).report_vector


def test_a_cluster_too_small_for_the_encoders_is_reported(settings, monkeypatch):
    monkeypatch.setattr(cluster, "START_S", 5)
    with (
        pytest.raises(ClusterUnavailable, match=r"1 encoders of 1 cores and 4 GPUs"),
        open_library_on_ray(settings, "local", encoders=1, gpus=4),
    ):
        pass
    assert not ray.is_initialized()


def test_a_node_that_has_another_bundle_there_is_refused(settings):
    ours = load(DEMO_BUNDLE)
    other = replace(ours, manifest=ours.manifest.model_copy(update={"id": "0" * 64}))
    where = cluster.Cluster("local", encoders=1, cores=1, gpus=0)
    with (
        pytest.raises(ClusterUnavailable, match="another bundle"),
        cluster.on_cluster(where, other, partial(_open_encoder, settings), 100),
    ):
        pass


def test_a_bundle_that_no_encoder_would_serve_is_refused_with_the_encoders_reason(
    settings, tmp_path
):
    folder = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
    mix_rows(folder / IMAGE_TOWER, 1)
    mixing = settings.model_copy(update={"bundle": seal(folder, load(DEMO_BUNDLE).manifest).path})
    with (
        pytest.raises(BundleNotReady, match=r"mixes the items of a batch.*ECLIP_MAX_BATCH=1"),
        open_library_on_ray(mixing, "local", encoders=1, gpus=0),
    ):
        pass


def test_no_cluster_at_the_address_is_reported(settings):
    with (
        pytest.raises(ClusterUnavailable, match="No Ray cluster answers"),
        open_library_on_ray(settings, "127.0.0.1:1", encoders=1, gpus=0),
    ):
        pass
