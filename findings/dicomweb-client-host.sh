#!/usr/bin/env bash
# dicomweb-client sends the Host header without the port.
#
# Expected: a request to http://127.0.0.1:8042 names the host 127.0.0.1:8042, as HTTP asks where the
#   port is not the scheme's own.
# Happens: every request names 127.0.0.1.
# Why it matters: archives build the Retrieve URLs of their answers from that header, so those URLs
#   point at port 80, where nothing or something else listens; a proxy that routes by host and port
#   routes elsewhere.
# What we do: archives are read by a session of our own (service/pacs/web), which builds URLs from the
#   configured address and follows none from answers.
#
# Seen:
#   dicomweb-client 0.61.2
#   Host of a request to 127.0.0.1:PORT: dicomweb-client 127.0.0.1, urllib 127.0.0.1:PORT
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  dicomweb-client==0.61.2 requests==2.34.2
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from urllib.request import urlopen

from dicomweb_client.api import DICOMwebClient


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


class Archive(BaseHTTPRequestHandler):
    """An archive without studies that notes by which host it was asked."""

    def do_GET(self):
        hosts.append(self.headers["Host"])
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_):
        pass


hosts = []
server = HTTPServer(("127.0.0.1", 0), Archive)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"127.0.0.1:{server.server_port}"
studies = DICOMwebClient(f"http://{address}").search_for_studies()
urlopen(f"http://{address}/studies").close()
by_client, by_urllib = (host.replace(str(server.server_port), "PORT") for host in hosts)
server.shutdown()
print("dicomweb-client", version("dicomweb-client"))
print(f"Host of a request to 127.0.0.1:PORT: dicomweb-client {by_client}, urllib {by_urllib}")

expect(studies == [], "the search fails")
expect(by_urllib == "127.0.0.1:PORT", "the archive here does not see the port")
expect(by_client == "127.0.0.1", "dicomweb-client names the port")
PYTHON
