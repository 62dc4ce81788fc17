"""Room that is kept on a disk, and the file that is given up on a full one."""

import pytest

from service import disk
from service.disk import SPARE, Reserve, free_bytes
from service.errors import StoreFull

MIB = 2**20


@pytest.fixture
def pretend(monkeypatch):
    """Sets how many bytes seem free besides the ballast."""

    def set_free(free):
        def seemingly_free(folder):
            ballast = folder / "ballast"
            return free - (ballast.stat().st_size if ballast.exists() else 0)

        monkeypatch.setattr(disk, "free_bytes", seemingly_free)

    return set_free


def test_a_write_is_refused_below_half_of_the_reserve(tmp_path, pretend):
    reserve = Reserve(tmp_path, 8 * MIB)
    pretend(5 * MIB)
    reserve.require(MIB)
    pretend(4 * MIB)
    with pytest.raises(StoreFull, match="4 MiB are free, and 6 MiB are needed"):
        reserve.require(MIB)
    assert not reserve.has(MIB)


def test_the_ballast_is_half_of_the_reserve_and_is_made_whole_again(tmp_path):
    reserve, ballast = Reserve(tmp_path, 8 * MIB), tmp_path / "ballast"
    reserve.hold()
    assert ballast.stat().st_size == 4 * MIB
    assert ballast.stat().st_blocks * 512 >= 4 * MIB
    assert ballast.stat().st_mode & 0o777 == 0o600
    ballast.write_bytes(b"\0" * MIB)
    reserve.hold()
    assert ballast.stat().st_size == 4 * MIB
    reserve.hold(5 * MIB)
    assert ballast.stat().st_size == 5 * MIB


def test_the_ballast_is_given_up_while_it_is_needed(tmp_path, pretend):
    reserve, ballast = Reserve(tmp_path, 16 * MIB), tmp_path / "ballast"
    reserve.hold()
    pretend(8 * MIB)
    with reserve.lent(SPARE):
        assert not ballast.exists()
        reserve.hold()
        assert not ballast.exists()
    assert ballast.stat().st_size > 7 * MIB
    with pytest.raises(StoreFull, match="Free some room"), reserve.lent(9 * MIB):
        pass
    assert ballast.stat().st_size > 7 * MIB


def test_the_ballast_stays_where_there_is_room(tmp_path):
    reserve = Reserve(tmp_path, 8 * MIB)
    reserve.hold()
    with reserve.lent(SPARE):
        assert (tmp_path / "ballast").exists()


def test_a_disk_without_inodes_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_has_inodes", lambda _: False)
    with pytest.raises(StoreFull, match="inodes"):
        Reserve(tmp_path, 0).require()


def test_without_a_reserve_nothing_is_kept(tmp_path):
    Reserve(tmp_path, 0).hold(MIB)
    assert not (tmp_path / "ballast").exists()


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_its_parent(tmp_path):
    assert free_bytes(tmp_path / "not" / "yet") > 0
    Reserve(tmp_path / "not" / "yet", MIB).require()
