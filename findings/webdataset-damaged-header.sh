#!/usr/bin/env bash
# webdataset, like Python's tarfile, takes a damaged header in a tar for the end of the tar.
#
# Expected: a shard of which one block is damaged raises an error, or loses one sample.
# Happens: all samples behind the damage are missing, without an error or a warning. The same holds
#   for two tars that were joined with `cat`: only the first is read.
# Why it matters: a shard that was damaged in a copy trains on a part of its patients, or puts a part
#   of them into a case library, and nobody is told.
# What we do: `eclip index` reads on behind the damage and rejects what lies there
#   (service/studies/tars.py); shards for training are read by offsets and verified by checksum.
#
# Seen:
#   webdataset 1.0.2
#   whole:            ['000000', '000001', '000002', '000003', '000004', '000005', '000006', '000007']
#   one byte damaged: ['000000', '000001', '000002']
#   two tars joined:  ['000000', '000001', '000002', '000003', '000004', '000005', '000006', '000007']
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
from pathlib import Path

import webdataset


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def shard(path, numbers):
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            member = tarfile.TarInfo(f"{number:06d}.txt")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    return Path(path).read_bytes()


def keys(data):
    Path("read.tar").write_bytes(data)
    read = webdataset.WebDataset("read.tar", shardshuffle=False)
    return [sample["__key__"] for sample in read]


print("webdataset", version("webdataset"))
whole = shard("a.tar", range(8))
damaged = bytearray(whole)
damaged[3 * 1024] ^= 1  # each sample is a header and a block
joined = whole + shard("b.tar", range(8, 16))
print("whole:           ", keys(whole))
print("one byte damaged:", keys(damaged))
print("two tars joined: ", keys(joined))

expect(len(keys(whole)) == 8, "a whole shard does not have its eight samples")
expect(len(keys(damaged)) == 3, "reading no longer ends at a damaged header")
expect(len(keys(joined)) == 8, "a tar behind a tar is read now")
PYTHON
