import multiprocessing
import re
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from service.errors import RequestMalformed
from service.imaging.deidentify import Pseudonymiser, allowed_tags, load_or_create_key

KEY = bytes(range(32))


IDS = st.text("aBÄ山1-:", min_size=1, max_size=8)
ANY_TEXT = st.text(st.characters(), min_size=1)  # lone surrogates too


@given(IDS, IDS)
def test_ids_are_hashed_by_kind_and_key(one, other):
    ours, theirs = Pseudonymiser(KEY), Pseudonymiser(KEY[::-1])
    assert ours.study(one) == Pseudonymiser(KEY).study(one)
    assert ours.study(one)[4:] != ours.patient(one)[4:]
    assert ours.study(one) != theirs.study(one)
    assert (ours.patient(one) == ours.patient(other)) == (one == other)


@given(ANY_TEXT)
def test_any_text_is_hashed_and_an_id_is_hashed_or_refused(text):
    names = Pseudonymiser(KEY)
    assert re.fullmatch("txt_[0-9a-f]{32}", names.text(text))
    with suppress(RequestMalformed):
        assert re.fullmatch("stu_[0-9a-f]{32}", names.study(text))


def test_a_pseudonym_passes_unchanged():
    names = Pseudonymiser(KEY)
    assert names.study(names.study("a")) == names.study("a")
    assert names.patient(names.patient("a")) == names.patient("a")
    assert names.patient(names.study("a")) != names.study("a")
    assert names.study(names.study("a") + "\n") != names.study("a") + "\n"


def test_a_short_key_is_refused_and_no_key_is_shown():
    with pytest.raises(ValueError, match="32 bytes"):
        Pseudonymiser(b"short")
    assert KEY.hex() not in repr(Pseudonymiser(KEY))
    assert Pseudonymiser(KEY).fingerprint != Pseudonymiser(KEY[::-1]).fingerprint


@pytest.mark.slow
def test_processes_that_start_together_share_one_key(tmp_path: Path):
    path = tmp_path / "data" / "identifiers.key"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(load_or_create_key, [path] * 8)
    assert len(set(keys)) == 1
    assert load_or_create_key(path) == keys[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"not a key", b"ab" * 31, b"\xff" * 64])
def test_a_damaged_key_is_refused_and_never_replaced(tmp_path: Path, content: bytes):
    path = tmp_path / "identifiers.key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"identifiers\.key does not hold a key.*Restore it"):
        load_or_create_key(path)
    assert path.read_bytes() == content


def test_a_key_that_exists_is_only_read(tmp_path: Path, monkeypatch):
    path = tmp_path / "identifiers.key"
    key = load_or_create_key(path)
    monkeypatch.setattr("os.open", lambda *_arguments: pytest.fail("it was written"))
    assert load_or_create_key(path) == key


def test_only_coded_values_pass():
    dataset = Dataset()
    dataset.ViewPosition = "DOE JOHN"
    dataset.Modality = "CR"
    dataset.PatientName = "Doe^John"
    assert allowed_tags(dataset) == {"Modality": "CR"}
