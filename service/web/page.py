"""GET /: the workbench page."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter()
PAGE = Path(__file__).with_name("workbench.html")


@router.get("/", include_in_schema=False)
def workbench() -> HTMLResponse:
    """One self-contained page: drop a radiograph, read findings, similar cases and the report."""
    return HTMLResponse(PAGE.read_text(encoding="utf-8"))
