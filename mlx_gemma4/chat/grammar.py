"""What a reply must keep to, as a grammar of llguidance: an answer by a JSON schema, or tool calls.

https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md. Knows nothing of MLX.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher

from .. import limits
from ..errors import Gemma4Error
from ..json_reader import is_deep, short
from .call_grammar import Controls, calls

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

Grammar = Mapping[str, Any]
"""A JSON schema."""

# On one line: fewer tokens, and a model that likes blanks comes to the next key.
_OPTIONS: "JsonCompileOptions" = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "lenient": False,
}
_FORMATS = frozenset(
    ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")
)
_SIGNS = (
    ("regex", "pattern"),
    ("Invalid type", "type"),
    ("Resource", "$ref"),
    ("oneOf", "oneOf"),
)  # how a message starts that is about this key
_JOINS = frozenset(("$ref", "anyOf", "oneOf"))
_OTHERS = frozenset(
    ("additionalProperties", "patternProperties", "unevaluatedProperties", "minProperties")
)  # what an object may have beside the properties that are named
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE = (
    "items", "additionalItems", "additionalProperties", "contains", "propertyNames", "not", "if",
    "then", "else", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip


def reply_grammar(
    schema: Grammar | None,
    tools: Sequence[Mapping[str, Any]],
    must_call: Sequence[str],
    controls: Controls,
) -> str | None:
    """Return the grammar of a reply, without its thought; None where it may be anything.

    Args:
        schema: of the answer, a JSON schema; where there are tools, they may be called instead.
        tools: as in OpenAI's chat completions; where one is `strict`, calls keep to the schemas.
        must_call: names of tools, of which the reply has to call one; and nothing else, then.
        controls: the ids of the control tokens, by their names.

    Raises:
        Gemma4Error: the schema cannot be kept to ("grammar_unusable", whose `facts` have the
            "param", the place in the schema), or there is no such tool.
    """
    if must_call:
        named = [tool for tool in tools if tool["function"]["name"] in must_call]
        missing = {*must_call} - {tool["function"]["name"] for tool in named}
        if missing:
            raise Gemma4Error(
                "tool_unknown",
                "There is no such tool",
                f"The reply has to call {', '.join(sorted(missing))}, which is not declared.",
                "Declare it, or name one that is declared.",
            )
        many = "+" if len(must_call) > 1 else ""
        return _checked(f"start: call{many}\n{calls(named, controls)}")
    if schema is None:
        strict = any(tool["function"].get("strict") for tool in tools)
        return _checked(f"start: TEXT? call*\n{calls(tools, controls)}") if strict else None
    _check_size(schema)
    usable = _usable(schema)
    try:
        grammar = LLMatcher.grammar_from_json_schema(usable, overrides=_OPTIONS)
    except ValueError as error:  # a number that is too large
        raise _unusable(f"{error}.") from None
    if (message := _problem(grammar)) is not None:
        raise _refused(schema, message)
    if not tools:
        return grammar
    answer = json.dumps({**usable, "x-guidance": _OPTIONS})
    return _checked(f"start: answer | call+\nanswer: %json {answer}\n{calls(tools, controls)}")


def _check_size(schema: Any) -> None:
    if not isinstance(schema, Mapping):
        raise _unusable(f"It is {short(schema)}, not an object.", "Use a JSON schema.")
    if is_deep(schema):
        raise _unusable(f"It is nested more than {limits.JSON_DEPTH} levels deep.")
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError) as error:
        raise _unusable(f"It is not JSON ({error}).", "Use a JSON schema.") from error
    if size > limits.SCHEMA_BYTES:
        raise _unusable(f"It has more than {limits.SCHEMA_BYTES:,} bytes.")


def _checked(grammar: str) -> str:
    if (message := _problem(grammar)) is not None:
        raise _unusable(f"With the tools: {message}.")
    return grammar


def _problem(grammar: str) -> str | None:
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return " ".join(messages[0].split()).rstrip(".") if failed else None


def _refused(schema: Grammar, message: str) -> Gemma4Error:
    """Make the error of a schema, with the place of what is refused where that is known."""
    keys = re.findall(r'"(\S+?)"', message) if message.startswith("Unimplemented") else []
    blamed = [key for sign, key in _SIGNS if message.startswith(sign)]
    if "oneOf" in blamed:
        message = "its alternatives may overlap; anyOf is supported"
    for place, inner in _schemas(schema):
        for key in inner:
            if key in keys or (key in blamed and (key == "oneOf" or str(inner[key]) in message)):
                param = f"{place}.{key}".lstrip(".")
                return _unusable(f"{param}: {message}.", param=param)
    return _unusable(f"{message}.")


def _usable(schema: Grammar) -> dict[str, Any]:
    """Return a narrower schema: what is valid under it is valid under this one too.

    It is without formats that only annotate, as most do that are not well known. And an object has
    only the properties that are named: others would be allowed, but nobody asks for them, and a
    model may find no end of them.
    """
    known: dict[str, Any] = json.loads(json.dumps(schema))
    inside = [inner for _, inner in _schemas(known) if isinstance(inner, dict)]
    joined = any(
        "allOf" in inner or ("properties" in inner and not _JOINS.isdisjoint(inner))
        for inner in inside
    )
    for inner in inside:
        if str(inner.get("format")) not in _FORMATS:  # as others, it may be no text
            inner.pop("format", None)
        named, required = inner.get("properties"), inner.get("required", [])
        if joined or not named or not isinstance(named, dict) or not isinstance(required, list):
            continue
        if {*map(str, required)} <= {*named} and _OTHERS.isdisjoint(inner):
            inner["additionalProperties"] = False
    return known


def _schemas(schema: Any, path: str = "") -> Iterator[tuple[str, Grammar]]:
    """A schema and those inside it, each with its place: keys and indexes, joined by dots."""
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for key in _MAPS:
        if isinstance(named := schema.get(key), Mapping):
            for name, inner in named.items():
                yield from _schemas(inner, f"{path}.{key}.{name}".lstrip("."))
    for key in _LISTS:
        if isinstance(several := schema.get(key), list):
            for index, inner in enumerate(several):
                yield from _schemas(inner, f"{path}.{key}.{index}".lstrip("."))
    for key in _SINGLE:
        yield from _schemas(schema.get(key), f"{path}.{key}".lstrip("."))


def _unusable(
    cause: str, remedy: str = "Use a schema without this.", param: str = ""
) -> Gemma4Error:
    title = "A reply cannot be made to keep to this schema"
    return Gemma4Error("grammar_unusable", title, cause, remedy, {"param": param})
