"""The page at `/`: one self-contained file; nothing is built or fetched from elsewhere."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

# what the model writes is shown as text alone; no other site may frame the page or be reached by it
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; worker-src blob:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def page(_: Request) -> Response:
    """`GET /`."""
    return HTMLResponse((files(__package__) / "index.html").read_text("utf-8"), headers=_HEADERS)
