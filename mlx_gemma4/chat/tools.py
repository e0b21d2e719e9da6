"""Tools in Gemma 4's own notation: declarations, calls and responses.

The notation is that of Google's chat template (Apache-2.0) and of ai.google.dev, "Gemma 4 Prompt
Formatting": JSON without quotes around keys, and the control token <|"|> around every string.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import Gemma4Error
from ..events import ToolCall
from ..json_reader import is_deep
from .messages import ToolResult

Schema = Mapping[str, Any]


def check_tools(tools: Iterable[Any]) -> None:
    """Raise a Gemma4Error that shows the first tool which `declaration` cannot write."""
    for tool in tools:
        if not is_tool(tool):
            shown = "it is nested too deeply" if is_deep(tool) else repr(tool)
            raise Gemma4Error(
                "tool_malformed",
                "The tool is malformed",
                f"It is no function with a name and a schema of its parameters: {shown:.200}.",
                'Write {"type": "function", "function": {"name": ..., "description": ...}}.',
            )


def is_tool(tool: Any) -> bool:
    """Whether `declaration` can write it: a function with a name, and schemas where they belong."""
    function = tool.get("function") if isinstance(tool, Mapping) and not is_deep(tool) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return False
    parameters = function.get("parameters")
    return parameters is None or (isinstance(parameters, Mapping) and _is_schema(parameters))


def _is_schema(schema: Any) -> bool:
    if not isinstance(schema, Mapping) or not all(isinstance(key, str) for key in schema):
        return False
    properties = schema.get("properties") or {}
    if not isinstance(properties, Mapping) or not all(isinstance(key, str) for key in properties):
        return False
    items = schema.get("items")
    return all(
        map(_is_schema, [*properties.values(), *([items] if isinstance(items, Mapping) else [])])
    )


def declaration(tool: Schema) -> str:
    """Write the declaration of a tool.

    Args:
        tool: as in the OpenAI API, {"type": "function", "function": {"name", "description",
            "parameters": a JSON schema of type object}}.
    """
    function = tool["function"]
    fields = [f"description:{_quote(str(function.get('description') or ''))}"]
    if parameters := function.get("parameters"):
        inner = []
        if parameters.get("properties"):
            inner.append(f"properties:{_properties(parameters['properties'])}")
        if parameters.get("required"):
            inner.append(f"required:{value(parameters['required'])}")
        inner.append(f"type:{_type(parameters)}")
        fields.append(f"parameters:{_braces(inner)}")
    return f"<|tool>declaration:{function['name']}{_braces(fields)}<tool|>"


def call(tool_call: ToolCall) -> str:
    """Write a call as the model does."""
    return f"<|tool_call>call:{tool_call.name}{value(tool_call.arguments)}<tool_call|>"


def response(result: ToolResult) -> str:
    """Write what a tool returned; anything but a mapping is put under the key `value`."""
    answer = result.response
    fields = answer if isinstance(answer, Mapping) else {"value": answer}
    return f"<|tool_response>response:{result.name}{value(fields)}<tool_response|>"


def value(item: Any) -> str:
    """Write a str, number, bool, None, sequence or mapping; the keys of a mapping are sorted."""
    if isinstance(item, str):
        return _quote(item)
    if isinstance(item, Mapping):
        return _braces(f"{key}:{value(inner)}" for key, inner in sorted_keys(item))
    if isinstance(item, Sequence):
        return "[" + ",".join(map(value, item)) + "]"
    return json.dumps(item) if item is None or isinstance(item, bool) else str(item)


def _quote(text: str) -> str:
    return f'<|"|>{text}<|"|>'


def _braces(fields: Iterable[str]) -> str:
    return "{" + ",".join(fields) + "}"


def sorted_keys(item: Schema) -> list[tuple[str, Any]]:
    """The keys and values in the order in which they are written."""
    return sorted(item.items(), key=lambda pair: str(pair[0]).lower())


def _type(schema: Schema) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list | tuple):  # one of several, as ["string", "null"]
        return value([str(one).upper() for one in kind])
    return _quote(str(kind).upper())


def _properties(properties: Schema) -> str:
    return _braces(f"{name}:{_property(schema)}" for name, schema in sorted_keys(properties))


def _property(schema: Schema) -> str:
    """Describe one parameter: description, what its type adds, nullable, type; in this order."""
    kind = str(schema.get("type", "")).upper()
    fields = []
    if schema.get("description"):
        fields.append(f"description:{_quote(str(schema['description']))}")
    if kind == "STRING" and schema.get("enum"):
        fields.append(f"enum:{value(schema['enum'])}")
    if kind == "ARRAY" and isinstance(schema.get("items"), Mapping) and schema["items"]:
        fields.append(f"items:{_items(schema['items'])}")
    if schema.get("nullable"):
        fields.append("nullable:true")
    if kind == "OBJECT":
        fields.append(f"properties:{_properties(schema.get('properties') or {})}")
        if schema.get("required"):
            fields.append(f"required:{value(schema['required'])}")
    fields.append(f"type:{_type(schema)}")
    return _braces(fields)


def _items(schema: Schema) -> str:
    """Describe what a list holds: here all keys of the schema, sorted."""
    fields = []
    for key, inner in sorted_keys(schema):
        if key == "properties" and isinstance(inner, Mapping):
            fields.append(f"properties:{_properties(inner)}")
        elif key == "type":
            fields.append(f"type:{_type(schema)}")
        elif inner is not None:
            fields.append(f"{key}:{value(inner)}")
    return _braces(fields)
