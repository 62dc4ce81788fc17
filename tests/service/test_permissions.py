"""Other users of the machine read nothing of the data directory."""

import os
import stat
import subprocess
import sys

import pytest

from service.permissions import close_to_others
from tests.support.paths import RADIOGRAPH, ROOT


def modes(root):
    paths = [root, *root.rglob("*")]
    return {oct(stat.S_IMODE(path.stat().st_mode)) for path in paths}


def test_what_an_earlier_version_made_is_closed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("another's")
    outside.chmod(0o644)
    library = tmp_path / "studies"
    (library / "deep").mkdir(parents=True)
    (library / "deep" / "page").write_text("FINDINGS: …")
    (library / "link").symlink_to(outside)
    key = tmp_path / "identifiers.key"
    key.write_text("key")
    for path in (library, library / "deep"):
        path.chmod(0o755)
    close_to_others([library, key, tmp_path / "absent"])
    assert modes(library) - {"0o644"} == {"0o700", "0o600"}
    assert modes(key) == {"0o600"}
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_a_closed_directory_is_not_looked_into(tmp_path):
    (tmp_path / "page").write_text("")
    (tmp_path / "page").chmod(0o644)
    tmp_path.chmod(0o700)
    close_to_others([tmp_path])
    assert modes(tmp_path) == {"0o700", "0o644"}


@pytest.mark.slow
def test_a_command_writes_for_its_user_only(tmp_path):
    (tmp_path / "picture.png").symlink_to(RADIOGRAPH)
    source = tmp_path / "studies.jsonl"
    source.write_text(
        '{"study_id": "s1", "images": ["picture.png"], "report": "Effusion."}\n{"study_id": "s2"}\n'
    )
    data, rejects = tmp_path / "var", tmp_path / "rejects.jsonl"
    subprocess.run(
        [sys.executable, "-m", "service.cli", "index", source, "--rejects", rejects],
        cwd=ROOT,
        env=os.environ | {"ECLIP_DATA_DIR": str(data)},
        umask=0o022,
    )
    assert any(data.glob("renditions/**/*.jpg"))
    assert modes(data) == {"0o700", "0o600"}
    assert rejects.stat().st_size
    assert modes(rejects) == {"0o600"}
