from datetime import UTC, datetime

import pytest

from service.errors import StoreUnavailable
from service.imaging.deidentify import Pseudonymiser
from service.pacs.pull.ledger import Ledger, Pulled

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_a_study_is_known_with_these_objects_alone(tmp_path):
    ledger = Ledger(tmp_path / "ledger", "reader")
    ledger.add([Pulled("stu_1", "txt_a", "stored"), Pulled("stu_2", "txt_b", "rejected")])
    ledger.close()
    for reader, rejected in (("reader", "rejected"), ("newer reader", None)):
        again = Ledger(tmp_path / "ledger", reader)
        assert again.state("stu_1", "txt_a") == "stored"
        assert again.state("stu_1", "txt_c") is again.state("stu_3", "txt_a") is None
        assert again.state("stu_2", "txt_b") == rejected
        again.close()


def test_a_later_state_replaces_the_earlier_one(tmp_path):
    ledger = Ledger(tmp_path / "ledger", "reader")
    ledger.add([Pulled("stu_1", "txt_a", "rejected")])
    ledger.add([Pulled("stu_1", "txt_b", "stored")])
    assert ledger.state("stu_1", "txt_a") is None
    assert ledger.state("stu_1", "txt_b") == "stored"


def test_an_empty_library_has_nothing_that_was_stored(tmp_path):
    ledger = Ledger(tmp_path / "ledger", "reader")
    ledger.add([Pulled("stu_1", "txt_a", "stored"), Pulled("stu_2", "txt_b", "rejected")])
    ledger.complete("txt_cr", BEGAN)
    ledger.forget_stored()
    assert ledger.state("stu_1", "txt_a") is ledger.last_complete("txt_cr") is None
    assert ledger.state("stu_2", "txt_b") == "rejected"


def test_a_forgotten_study_is_pulled_again_also_by_a_run_of_the_last_days(tmp_path):
    ledger = Ledger(tmp_path / "ledger", "reader")
    ledger.add([Pulled("stu_1", "txt_a", "stored"), Pulled("stu_2", "txt_b", "stored")])
    ledger.complete("txt_cr", BEGAN)
    ledger.forget("stu_3")
    assert ledger.last_complete("txt_cr") == BEGAN
    ledger.forget("stu_1")
    assert ledger.state("stu_1", "txt_a") is ledger.last_complete("txt_cr") is None
    assert ledger.state("stu_2", "txt_b") == "stored"


def test_complete_runs_are_known_by_their_filter(tmp_path):
    ledger = Ledger(tmp_path / "ledger", "reader")
    assert ledger.last_complete("txt_cr") is None
    ledger.complete("txt_cr", BEGAN)
    assert ledger.last_complete("txt_cr") == BEGAN
    assert ledger.last_complete("txt_dx") is None


def test_each_collection_archive_and_key_has_a_file_of_its_own(tmp_path):
    keys = [Pseudonymiser(bytes([each]) * 32) for each in (1, 2)]
    for collection, address, key in (
        ("studies", "http://pacs", 0), ("other", "http://pacs", 0), ("studies", "http://pacs2", 0),
        ("studies", "http://pacs", 1), ("studies", "http://pacs", 0),
    ):  # fmt: skip
        Ledger.of(tmp_path, collection, address, keys[key], "reader").close()
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 4
    assert not any("pacs" in name for name in names)


def test_a_damaged_file_is_an_error_in_words(tmp_path):
    (tmp_path / "ledger").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable, match=r"NOTADB.*remove it"):
        Ledger(tmp_path / "ledger", "reader")
