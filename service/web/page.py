"""Answers GET / with the workbench page."""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter()
PAGE = Path(__file__).with_name("workbench.html").read_text(encoding="utf-8")


def _sources(tag: str) -> str:
    """Returns the CSP hashes of the page's own inline blocks. A browser runs no other block."""
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    digests = (hashlib.sha256(block.encode()).digest() for block in blocks)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src {_sources('script')}",
        f"style-src {_sources('style')}",
        "img-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


@router.get("/", include_in_schema=False)
def workbench() -> HTMLResponse:
    """Returns the page that shows a radiograph's findings, similar cases and report."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})
