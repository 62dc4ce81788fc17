"""Answers GET / with the workbench page, and the files that it loads."""

import hashlib
from functools import partial
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).with_name("workbench")
_FILES = sorted(path for path in _FOLDER.iterdir() if path.suffix != ".html")
VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in _FILES)).hexdigest()[:16]
"""Changes with any file. It is a part of each address, so a browser may keep the files for good."""
_PAGE = (_FOLDER / "index.html").read_text(encoding="utf-8").replace("VERSION", VERSION)
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""What a browser may do for the page. It runs no inline script and asks no other server."""


@router.get("/")
def workbench() -> HTMLResponse:
    """Returns the page that shows a radiograph, its findings, similar cases and report."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": POLICY})


def _file(path: Path) -> FileResponse:
    return FileResponse(path, headers={"Cache-Control": "max-age=31536000, immutable"})


for _path in _FILES:
    router.add_api_route(f"/workbench/{VERSION}/{_path.name}", partial(_file, _path))
