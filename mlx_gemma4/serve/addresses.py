"""Which route a path means as programs write it: slashes too many, `/v1` twice or left out."""

from urllib.parse import urlsplit

BELOW_V1 = frozenset(("chat", "responses", "messages", "audio", "models", "realtime"))
"""What every route of the API starts with, behind `/v1`."""


def route_of(path: str) -> str:
    """The path of the route that is meant; one that means none comes back without extra slashes.

    Args:
        path: of the request; whole where it came through a proxy (`http://host/v1/models`).
    """
    names = [name for name in (urlsplit(path).path if "://" in path else path).split("/") if name]
    while names[:2] == ["v1", "v1"]:
        del names[0]
    if names and names[0] in BELOW_V1:
        names.insert(0, "v1")
    return "/" + "/".join(names)
