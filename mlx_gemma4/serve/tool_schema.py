"""A tool's parameters as Gemma's notation can show them.

The notation has types, enums and `nullable`, but no references and no alternatives; other programs
write those for classes (`$ref`) and for optional fields (`anyOf` with null). Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any

MOST = 2_000
"""The most schemas within one, with references followed; the rest become plain objects."""
_JOINED = ("$ref", "anyOf", "oneOf", "allOf", "$defs", "definitions")

Json = dict[str, Any]


def shown(parameters: Any) -> Any:
    """Return the schema with references followed, and alternatives as types and `nullable`."""
    return _shown(parameters, parameters, iter(range(MOST)), frozenset())


def _shown(schema: Any, root: Any, left: Iterator[int], within: frozenset[str]) -> Any:
    """Args: `left` counts down; `within` has the references that are being followed."""
    if schema is True:
        return {}
    if not isinstance(schema, Mapping):
        return schema
    name = schema["$ref"] if isinstance(schema.get("$ref"), str) else ""
    if (name and name in within) or next(left, None) is None:
        return {"type": "object"}  # it refers to itself: it is shown once
    within |= {name}

    def inner(one: Any) -> Any:
        return _shown(one, root, left, within)

    made: Json = {key: value for key, value in schema.items() if key not in _JOINED}
    if "const" in made:
        made.setdefault("enum", [made["const"]])
    others = [inner(_referred(name, root)), *map(inner, _list(schema, "allOf"))]
    ways = [inner(one) for key in ("anyOf", "oneOf") for one in _list(schema, key)]
    ways = [one for one in ways if isinstance(one, Mapping)]
    named = [one for one in ways if one.get("type") != "null"]
    if len(named) < len(ways):
        made.setdefault("nullable", True)
    if len(named) == 1:
        others += named
    elif named and not made.get("type"):
        types = [one.get("type") for one in named]
        flat = [t for one in types for t in (one if isinstance(one, list) else [one])]
        made["type"] = [*dict.fromkeys(t for t in flat if isinstance(t, str))]
    for one in others:
        made = {**one, **made} if isinstance(one, Mapping) else made
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = {name: inner(one) for name, one in made["properties"].items()}
    if "items" in made:
        made["items"] = inner(made["items"])
    return made


def _list(schema: Mapping[str, Any], key: str) -> list[Any]:
    found = schema.get(key)
    return found if isinstance(found, list) else []


def _referred(reference: str, root: Any) -> Any:
    """Return what a reference within the schema refers to; None where there is nothing."""
    if not reference.startswith("#/"):
        return None
    for name in reference[2:].split("/"):
        name = name.replace("~1", "/").replace("~0", "~")
        root = root.get(name) if isinstance(root, Mapping) else None
    return root
