"""Images that had a draft are remembered across restarts, as hashes, within bounds."""

from service.imaging.deidentify import Pseudonymiser
from service.pacs.desk import answered as module
from service.pacs.desk.answered import Answered

NAMES = Pseudonymiser(b"k" * 32)


def test_a_restart_remembers_what_a_draft_was_about(tmp_path):
    file = tmp_path / "answered.hashes"
    Answered(file, NAMES).add("1.2.840.9", ["1.2.840.1", "1.2.840.2"])
    with file.open("ab") as torn:
        torn.write(b'["txt_')  # by a crash
    again = Answered(file, NAMES)
    assert again.has_more_than("1.2.840.9", ["1.2.840.2"])
    assert not again.has_more_than("1.2.840.9", ["1.2.840.1", "1.2.840.2"])
    assert not again.has_more_than("1.2.840.8", ["1.2.840.2"])
    assert b"1.2.840" not in file.read_bytes()


def test_a_draft_that_is_made_again_is_remembered_once(tmp_path):
    file = tmp_path / "answered.hashes"
    known = Answered(file, NAMES)
    for _ in range(3):
        known.add("1.9", ["1.1", "1.2"])
    known.add("1.9", ["1.1"])  # of which there are no parts
    assert len(file.read_bytes().splitlines()) == 1


def test_the_oldest_studies_are_forgotten_and_leave_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_STUDIES", 10)
    file = tmp_path / "answered.hashes"
    known = Answered(file, NAMES)
    for study in range(100):
        known.add(f"1.9.{study}", ["1.1", "1.2"])
    assert len(file.read_bytes().splitlines()) <= 20
    for each in (known, Answered(file, NAMES)):
        assert [s for s in range(100) if each.has_more_than(f"1.9.{s}", ["1.1"])] == [
            *range(90, 100)
        ]
