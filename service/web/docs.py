"""Answers GET /docs with Swagger UI, which loads and runs files of this server alone."""

from functools import partial
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse

router = APIRouter(include_in_schema=False)
_HERE = Path(__file__).parent
_SWAGGER_UI = Path(str(files("fastapi_standalone_docs"))) / "static" / "swagger"
_FILES = {
    "swagger-ui.css": _SWAGGER_UI,
    "swagger-ui-bundle.js": _SWAGGER_UI,
    "docs_start.js": _HERE,
}
"""Name of each file that the page loads → its folder."""
_PAGE = (_HERE / "docs.html").read_text(encoding="utf-8")
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""What a browser may do for the page. It runs no inline script and asks no other server."""


@router.get("/docs")
def docs() -> HTMLResponse:
    """Returns the page on which a reader can try each endpoint."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": POLICY})


def _file(path: Path) -> FileResponse:
    return FileResponse(path, headers={"Cache-Control": "max-age=3600"})


for _name, _folder in _FILES.items():
    router.add_api_route(f"/docs/{_name}", partial(_file, _folder / _name))
