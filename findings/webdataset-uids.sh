#!/usr/bin/env bash
# webdataset merges all files named by DICOM UIDs into one sample.
#
# Expected: 1.2.826.0.1.dcm and 1.2.826.0.1.txt are one study, 1.2.826.0.2.dcm and .txt the next.
# Happens: a name is split at its first dot, so all of them have the key "1" and extensions such as
#   "2.826.0.1.dcm". The whole shard becomes one sample, without a warning.
# Why it matters: naming files by their UID is the habit of radiology. A training then sees one
#   sample a shard, or fails where it looks for "dcm", and a loader that skips such samples sees no
#   data.
# What we do: shards have running numbers as keys (training/data/shards.py).
#
# Seen:
#   webdataset 1.0.2
#   named by UID:    [('1', ['2.826.0.1.dcm', '2.826.0.1.txt', '2.826.0.2.dcm', '2.826.0.2.txt',
#     '2.826.0.3.dcm', '2.826.0.3.txt'])]
#   named by number: [('000001', ['dcm', 'txt']), ('000002', ['dcm', 'txt']), ('000003', ['dcm',
#     'txt'])]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check webdataset==1.0.2
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import io
import sys
import tarfile
from importlib.metadata import version

import webdataset


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def samples(*names):
    """Returns the keys and extensions that a shard of an image and a text each gives."""
    with tarfile.open("shard.tar", "w") as tar:
        for name in names:
            for kind in ("dcm", "txt"):
                member = tarfile.TarInfo(f"{name}.{kind}")
                member.size = 1
                tar.addfile(member, io.BytesIO(b"x"))
    read = webdataset.WebDataset("shard.tar", shardshuffle=False)
    return [(one["__key__"], sorted(k for k in one if not k.startswith("__"))) for one in read]


print("webdataset", version("webdataset"))
by_uid = samples("1.2.826.0.1", "1.2.826.0.2", "1.2.826.0.3")
by_number = samples("000001", "000002", "000003")
print("named by UID:   ", by_uid)
print("named by number:", by_number)

expect(len(by_number) == 3, "three studies named by numbers are not three samples")
expect(len(by_uid) == 1 and by_uid[0][0] == "1", "names are no longer split at the first dot")
PYTHON
