#!/usr/bin/env bash
# On a busy machine pynetdicom drops an answer to a query, and the query ends as a success.
#
# Expected: a C-FIND that ends with status 0000 has given every match that the node sent.
# Happens: two queries follow each other in one association, and other threads of the program are
#   busy. Now and then pynetdicom's own thread, which should be paused meanwhile, takes a match off
#   the queue before the caller does. It logs "Received unexpected C-FIND service message" as a
#   warning, which nobody sees by default. The caller gets status 0000 and no match.
# Why it matters: a study, a series or an object of it is then missing from a list. A program that
#   copies an archive leaves it out and reports no error.
# What we do: our associations have a checkpoint of their own, which is surely passed or surely
#   closed (service/pacs/node/reactor.py).
#
# Seen, on two cores:
#   pynetdicom 3.0.4
#   one match sent and status 0000, but no match received: query 233 of 3000
#   logged: Received unexpected C-FIND service message
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 pynetdicom==3.0.4
cat > "$work/node.py" << 'PY'
import threading

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND


def find(event):
    match = Dataset()
    match.QueryRetrieveLevel = "SERIES"
    match.StudyInstanceUID, match.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    yield 0xFF00, match


node = AE()
node.add_supported_context(FIND)
server = node.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
print(server.server_address[1], flush=True)
threading.Event().wait()
PY
cat > "$work/ask.py" << 'PY'
import logging
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

MOST = 3000
warnings = []
logging.getLogger("pynetdicom.association").addFilter(lambda record: warnings.append(record.getMessage()))
query = Dataset()
query.QueryRetrieveLevel = "SERIES"
query.StudyInstanceUID, query.SeriesInstanceUID = "1.2.3", ""


def compute():
    while True:
        sum(range(2000))


def lost(association):
    """Returns the number of the first query that ends well and gives no match; None if none does."""
    for number in range(1, MOST + 1):
        answers = list(association.send_c_find(query, FIND))
        statuses = [status.Status for status, _ in answers]
        assert statuses[-1] == 0x0000, statuses
        if statuses == [0x0000]:
            return number
        assert statuses == [0xFF00, 0x0000], statuses


node = subprocess.Popen(
    [sys.executable, str(Path(__file__).with_name("node.py"))], stdout=subprocess.PIPE, text=True
)
try:
    for _ in range(2):
        threading.Thread(target=compute, daemon=True).start()
    caller = AE()
    caller.add_requested_context(FIND)
    association = caller.associate("127.0.0.1", int(node.stdout.readline()))
    assert association.is_established
    number = lost(association)
    association.abort()
finally:
    node.kill()
    node.wait()
print(f"pynetdicom {version('pynetdicom')}")
assert number, f"no match was lost in {MOST} queries"
print(f"one match sent and status 0000, but no match received: query {number} of {MOST}")
print(f"logged: {warnings[-1]}")
assert warnings[-1] == "Received unexpected C-FIND service message", warnings[-1]
PY
"$work/venv/bin/python" "$work/ask.py"
