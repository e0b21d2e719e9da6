"""Finds the route that a client's path means: with extra slashes, `/v1` twice or left out."""

import re

BELOW_V1 = frozenset(("chat", "responses", "messages", "audio", "models", "realtime"))
"""The first name of every route of the API, behind `/v1`."""


_SERVER = re.compile(r"^https?://[^/]*", re.IGNORECASE)


def route_of(path: str) -> str:
    """Return the path of the route that is meant; one that means none only loses extra slashes.

    Args:
        path: the request's; a whole URL where it came through a proxy (`http://host/v1/models`).
    """
    names = [name for name in _SERVER.sub("", path).split("/") if name]
    while names[:2] == ["v1", "v1"]:
        del names[0]
    if names and names[0] in BELOW_V1:
        names.insert(0, "v1")
    return "/" + "/".join(names)
