"""A library whose studies, images or answers are missing is noticed."""

from unittest.mock import Mock

import pytest

from service.cases import engine
from service.cases.engine import cause, engine_errors
from service.cases.renditions import Renditions
from service.cases.soundness import missing_renditions, missing_studies, require_found
from service.cases.tally import Tally
from service.errors import StoreFull, StoreUnavailable

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode


class PanicException(BaseException):
    """As pyo3 raises for a panic: no Exception."""


@pytest.fixture
def counted(store, tmp_path):
    store.tally = Tally(tmp_path / "cases.count")
    return store


@pytest.fixture
def renditions(tmp_path, study):
    renditions = Renditions(tmp_path / "renditions")
    for name in "st":
        for image in study(name).study.images:
            renditions.write(image.rendition, b"jpeg")
    return renditions


def test_an_empty_and_a_whole_library_are_sound(counted, study, renditions):
    for studies in ([], [study("s"), study("t")]):
        counted.put(studies)
        require_found(counted)
        assert missing_studies(counted) is None
        assert missing_renditions(counted, renditions) is None


def test_studies_that_are_deleted_are_not_missing(counted, study):
    counted.put([study(f"s{number}") for number in range(10)])
    assert missing_studies(counted) is None
    for number in range(9):
        assert counted.delete(f"s{number}")
        assert missing_studies(counted) is None
    counted.delete_patient("patient")
    assert missing_studies(counted) is None


def test_half_of_the_studies_missing_is_a_fault_and_one_of_many_is_said(counted, study):
    counted.put([study(f"s{number}") for number in range(20)])
    assert missing_studies(counted) is None
    tally, counted.tally = counted.tally, None
    counted.delete("s0")
    counted.tally = tally
    assert missing_studies(counted).startswith("1 of 20 studies")
    counted.tally = None
    for number in range(1, 10):
        counted.delete(f"s{number}")
    counted.tally = tally
    with pytest.raises(StoreUnavailable, match="10 of 20 studies are missing"):
        missing_studies(counted)
    counted.put([study(f"s{number}") for number in range(10)])
    assert missing_studies(counted) is None


def test_the_number_of_studies_is_never_too_high_after_a_crash(tmp_path):
    tally = Tally(tmp_path / "count")
    assert tally.compare(lambda: 5) == (5, 0)
    with pytest.raises(KeyboardInterrupt), tally.deleting(2):
        raise KeyboardInterrupt  # before or after the deletion
    assert Tally(tmp_path / "count").compare(lambda: 3) == (3, 0)


def test_a_damaged_number_is_counted_again(tmp_path):
    (tmp_path / "count").write_text("not a number")
    assert Tally(tmp_path / "count").compare(lambda: 5) == (5, 0)
    assert Tally(tmp_path / "count").compare(lambda: 4) == (4, 1)


def test_missing_renditions_are_a_fault(counted, study, renditions):
    counted.put([study("s"), study("t")])
    for name in "st":
        renditions.remove(image.rendition for image in study(name).study.images)
    with pytest.raises(StoreUnavailable, match="8 are missing"):
        missing_renditions(counted, renditions)


def test_searches_that_find_nothing_are_a_fault(counted, study, monkeypatch):
    counted.put([study("s")])
    monkeypatch.setattr(counted, "_nearest", Mock(return_value=[]))
    with pytest.raises(StoreUnavailable, match="does not find a"):
        require_found(counted)


def test_a_panic_of_the_engine_is_a_typed_error():
    with pytest.raises(StoreUnavailable), engine_errors(ValueError, "The engine failed."):
        raise PanicException("called unwrap() on DOE^JANE")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, KeyError])
def test_what_is_no_error_of_the_engine_passes(error):
    with pytest.raises(error), engine_errors(ValueError, "The engine failed."):
        raise error


def test_an_engine_that_says_its_disk_is_full_is_full():
    with pytest.raises(StoreFull), engine_errors(ValueError, "The engine failed."):
        raise ValueError("Service internal error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        ("Service internal error: No space left on device (os error 28)",
         "service internal error, no space left on device, os error 28"),
        ('Bad request: invalid type: string "Nodule of DOE^JANE, born 1961-03-04"', "bad request"),
        ("DOE^JANE 1961-03-04", "not known"),
        ("not found " * 9_000, "not found"),
    ],
)  # fmt: skip
def test_a_cause_in_the_log_holds_nothing_of_a_patient(message, logged, monkeypatch):
    lines = []

    class Log:
        def error(self, event, **values):
            lines.append((event, values))

    monkeypatch.setattr(engine, "log", Log)
    assert cause(ValueError(message)) == logged
    with pytest.raises(StoreUnavailable), engine_errors(ValueError, "The engine failed."):
        raise ValueError(message)
    assert lines == [("engine failed", {"error": "ValueError", "cause": logged})]
