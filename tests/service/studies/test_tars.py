import io
import os
import subprocess
import tarfile
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import SourceUnreadable
from service.studies.tars import BLOCK, members, read_member

FILES = {f"{name}.png": f"pixels of {name}".encode() * 40 for name in "abc"}


def tar_of(path, entries, form=tarfile.PAX_FORMAT):
    """entries: (name, data), or a TarInfo without data."""
    with tarfile.open(path, "w", format=form) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return path


def special(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "a.png"
    return info


def whole(path):
    return {m.name: read_member(path, m.name) for m in members(path) if m.fault is None}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_are_read_by_their_place(tmp_path, form):
    entries = [("./a.png", b"a"), ("/b.png", b"b"), (f"{'d' * 90}/{'é' * 40}.png", b"c")]
    path = tar_of(tmp_path / "t.tar", entries, form)
    assert whole(path) == {"a.png": b"a", "b.png": b"b", entries[2][0]: b"c"}
    assert read_member(path, "a.png", 0) == b""


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
)
def test_what_is_no_file_is_told_and_harms_no_other(tmp_path, kind):
    path = tar_of(tmp_path / "t.tar", [*FILES.items(), special("x.png", kind)])
    assert {m.name for m in members(path) if m.fault} == {"x.png"}
    assert whole(path) == FILES


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_sparse_file_harms_no_other(tmp_path, form):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    os.truncate(tmp_path / "b.png", 2**20)
    command = ["tar", f"--format={form}", "--sparse", "--create", "--file", "t.tar", *FILES]
    if subprocess.run(command, cwd=tmp_path, check=False).returncode:
        pytest.skip("this tar writes no sparse files")
    assert [(m.name, m.fault is None) for m in members(tmp_path / "t.tar")] == [
        ("a.png", True),
        ("b.png", False),
        ("c.png", True),
    ]
    assert whole(tmp_path / "t.tar") == {name: FILES[name] for name in ("a.png", "c.png")}


def test_a_link_that_claims_a_size_harms_no_other(tmp_path):
    link = special("x.png", tarfile.LNKTYPE)
    link.size = 5 * BLOCK  # as cpio writes it, without the bytes
    path = tar_of(tmp_path / "t.tar", [link, *FILES.items()])
    assert [m.name for m in members(path) if m.fault] == ["x.png"]
    assert whole(path) == FILES


def test_a_file_that_claims_more_than_the_tar_holds_is_told(tmp_path):
    path = tar_of(tmp_path / "t.tar", FILES.items())
    info = tarfile.TarInfo("d.png")
    info.size = 2**20
    path.write_bytes(path.read_bytes()[: 6 * BLOCK] + info.tobuf() + bytes(2 * BLOCK))
    assert whole(path) == FILES
    assert [m.name for m in members(path) if m.fault] == ["d.png"]


def test_folders_are_left_out(tmp_path):
    path = tar_of(tmp_path / "t.tar", [special("x.png", tarfile.DIRTYPE), *FILES.items()])
    assert [m.name for m in members(path)] == list(FILES)


def test_a_name_that_is_not_utf_8_is_a_name(tmp_path):
    path = tar_of(tmp_path / "t.tar", [("gr\udcf6.png", b"x")], tarfile.USTAR_FORMAT)
    assert whole(path) == {"gr\udcf6.png": b"x"}


def test_joined_tars_are_read_to_the_end(tmp_path):
    one, two = (tar_of(tmp_path / f"{n}.tar", [(f"{n}.png", b"x")]) for n in "12")
    (tmp_path / "t.tar").write_bytes(one.read_bytes() + two.read_bytes())
    assert set(whole(tmp_path / "t.tar")) == {"1.png", "2.png"}


def test_the_global_header_of_git_archive_is_no_damage(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w", pax_headers={"comment": "f" * 40}) as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    assert [(m.name, m.fault) for m in members(tmp_path / "t.tar")] == [("a.png", None)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_damaged_header_costs_one_file_and_is_told(tmp_path, at, flip):
    names = {"a.png": b"a" * 700, "é" * 60 + "b.png": b"b" * 700, "c.png": b"c" * 700}
    path = tar_of(tmp_path / f"{at}-{flip}.tar", names.items())
    data = bytearray(path.read_bytes())
    data[3 * BLOCK + at] ^= flip  # in the header behind the first file
    path.write_bytes(data)
    found = whole(path)
    assert found["a.png"] == names["a.png"]
    assert found["c.png"] == names["c.png"]
    if len(found) < len(names):
        assert [m.name for m in members(path) if m.fault] == [f"byte {3 * BLOCK}"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=4 * BLOCK))
def test_any_bytes_are_a_tar_or_a_reason(tmp_path, data):
    (tmp_path / "t.tar").write_bytes(tar_of(tmp_path / "a.tar", FILES.items()).read_bytes() + data)
    with suppress(SourceUnreadable):
        assert set(FILES) <= {member.name for member in members(tmp_path / "t.tar")}


def test_a_tar_that_is_compressed_or_none_is_refused(tmp_path):
    for data, reason in ((b"\x1f\x8b" + bytes(2000), "gunzip"), (b"x" * 2000, "not a tar")):
        (tmp_path / "t.tar").write_bytes(data)
        with pytest.raises(SourceUnreadable, match=reason):
            members(tmp_path / "t.tar")
