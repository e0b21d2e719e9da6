"""Tool calls in Gemma 4's own notation (`tools.py`) as rules of a grammar, by the tools' schemas.

A parameter of a kind that is not known here may be any value: the model was shown its schema.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from llguidance import LLMatcher

from .tools import Schema, sorted_keys, value

Controls = Mapping[str, int]
"""Control token's name -> id."""

_QUOTE = '<|"|>'
_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_ELSEWHERE = frozenset(("$ref", "allOf", "anyOf", "oneOf", "enum", "const"))
_MOST_ITEMS = 64  # of a list or an object whose schema has no bound

_COMMON = """
any: text | NUMBER | "true" | "false" | "null" | any_object | any_list
any_object: "{" (any_field ("," any_field){0,63})? "}"
any_field: KEY ":" any
any_list: "[" (any ("," any){0,63})? "]"
text: quote TEXT? quote
KEY: /[A-Za-z_][A-Za-z0-9_.-]{0,63}/
TEXT: /(.|\\n)+/
INTEGER: /-?(0|[1-9][0-9]{0,17})/
NUMBER: /-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?/
"""


def calls(tools: Sequence[Schema], controls: Controls) -> str:
    """Return rules, of which `call` is a call of one of these tools."""
    rules = _Rules(controls)
    names = [rules.call(tool["function"]) for tool in tools]
    opening, closing = rules.control("<|tool_call>"), rules.control("<tool_call|>")
    rules.add("call", f'{opening} "call:" ({" | ".join(names)}) {closing}')
    rules.add("quote", rules.control(_QUOTE))
    return "\n".join(rules.lines) + _COMMON


class _Rules:
    def __init__(self, controls: Controls) -> None:
        self.lines: list[str] = []
        self._controls = controls
        self._root: Schema = {}
        self._refs: dict[str, str] = {}

    def control(self, name: str) -> str:
        return f"<[{self._controls[name]}]>"

    def add(self, name: str, body: str) -> str:
        self.lines.append(f"{name}: {body}")
        return name

    def call(self, function: Schema) -> str:
        """The call of a function; it takes no arguments where it declares none."""
        self._root = function.get("parameters") or {}
        self._refs = {}
        declares = not _ELSEWHERE.isdisjoint(self._root)
        schema = self._root if declares else {"additionalProperties": False, **self._root}
        return self._new(f"{_text(function['name'])} {self._arguments(schema)}")

    def _arguments(self, schema: Schema, seen: frozenset[str] = frozenset()) -> str:
        """The arguments of a call: an object, whatever else their schema allows."""
        for key in ("$ref", "allOf", "anyOf", "oneOf"):
            if key not in schema:
                continue
            rest, inner = {k: schema[k] for k in schema if k != key}, schema[key]
            if key == "$ref":
                reference = str(inner)
                inner = [] if reference in seen else [self._found(reference)]
                seen |= {reference}
            others = [one for one in inner if isinstance(one, Mapping)] if _listed(inner) else []
            if key in ("$ref", "allOf"):
                return self._arguments(reduce(_joined, others, rest), seen)
            if others:
                return self._one_of(self._arguments(_joined(rest, one), seen) for one in others)
        return self._object(schema)

    def _new(self, body: str) -> str:
        return self.add(f"r{len(self.lines)}", body)

    def _schema(self, schema: Any) -> str:
        if not isinstance(schema, Mapping):
            return "any"
        if isinstance(reference := schema.get("$ref"), str):
            return self._reference(reference)
        if "const" in schema:
            return self._literal(schema["const"])
        if isinstance(allowed := schema.get("enum"), list) and allowed:
            return self._one_of(map(self._literal, allowed))
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(inner := schema.get(key), list) and inner:
                if key == "allOf" and len(inner) > 1:
                    return "any"
                return self._one_of(map(self._schema, inner))
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if schema.get("nullable") and "null" not in kinds:
            kinds = [*kinds, "null"]
        return self._one_of(self._kind(str(kind).lower(), schema) for kind in kinds)

    def _kind(self, kind: str, schema: Schema) -> str:
        match kind:
            case "string":
                return self._string(schema)
            case "integer" | "number":
                bounds = {key: schema[key] for key in _NUMERIC if key in schema}
                bounded = f"%json {json.dumps({'type': kind, **bounds})}"
                return self._new(bounded) if bounds else kind.upper()
            case "boolean":
                return '("true" | "false")'
            case "null":
                return '"null"'
            case "array":
                return self._list(schema)
            case "object":
                return self._object(schema)
        return "any"

    def _string(self, schema: Schema) -> str:
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and (rule := _anchored(pattern)) is not None:
            return f"quote {self.add(f'T{len(self.lines)}', rule)} quote"
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if not (isinstance(most, int) and isinstance(least, int) and 0 <= least <= most <= 10_000):
            return "text"
        if not most:
            return "quote quote"
        some = self.add(f"T{len(self.lines)}", f"/(.|\\n){{{max(least, 1)},{most}}}/")
        return f"quote {some}{'' if least else '?'} quote"

    def _list(self, schema: Schema) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        least = min(least, _MOST_ITEMS) if isinstance(least, int) else 0
        most = min(most, 1000) if isinstance(most, int) else max(least, _MOST_ITEMS)
        if not most:
            return '"[" "]"'
        item = self._schema(schema.get("items"))
        some = f'{item} ("," {item}){{{max(least - 1, 0)},{max(most, least, 1) - 1}}}'
        return self._new(f'"[" {some if least else f"({some})?"} "]"')

    def _object(self, schema: Schema) -> str:
        """An object: its properties in the order of `tools.value`, optional if not required."""
        properties, required = schema.get("properties"), _required(schema)
        if not isinstance(properties, Mapping) or not properties:
            closed = schema.get("additionalProperties") is False
            return '"{" "}"' if closed else "any_object"
        after = first = '"}"'  # what follows a property, and what follows none
        for name, inner in reversed(sorted_keys(properties)):
            field = f"{_text(name)} {_text(':')} {self._schema(inner)} "
            later, sooner = f'"," {field}{after}', f"{field}{after}"
            if name not in required:
                later, sooner = f"{later} | {after}", f"{sooner} | {first}"
            after, first = self._new(later), self._new(sooner)
        return f'"{{" {first}'

    def _reference(self, reference: str) -> str:
        """The rule of a schema elsewhere in the root, which may refer to itself."""
        if reference not in self._refs:
            found = self._found(reference)
            if found is None:
                return "any"
            self.lines.append("")
            at = len(self.lines) - 1
            self._refs[reference] = f"r{at}"
            self.lines[at] = f"r{at}: {self._schema(found)}"
        return self._refs[reference]

    def _found(self, reference: str) -> Any:
        """The schema of a reference; None where there is none in the root."""
        if not reference.startswith("#"):
            return None
        found: Any = self._root
        for key in reference.removeprefix("#").split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def _literal(self, item: Any) -> str:
        parts: list[str] = []
        for index, piece in enumerate(value(item).split(_QUOTE)):
            parts += ["quote"] * (index > 0) + [_text(piece)] * (piece != "")
        return " ".join(parts)

    def _one_of(self, rules: Iterable[str]) -> str:
        several = list(dict.fromkeys(rules))
        return several[0] if len(several) == 1 else f"({' | '.join(several)})"


def _required(schema: Schema) -> list[Any]:
    required = schema.get("required") or ()
    return [*required] if _listed(required) else []


def _listed(value: object) -> bool:
    return isinstance(value, list | tuple)


def _joined(one: Schema, other: Schema) -> Schema:
    """An object's schema under which the named properties of two are allowed."""
    named = [s["properties"] for s in (one, other) if isinstance(s.get("properties"), Mapping)]
    properties = {name: inner for each in named for name, inner in each.items()}
    required = [*_required(one), *_required(other)]
    return {**one, **other, "properties": properties, "required": required}


def _anchored(pattern: str) -> str | None:
    """A pattern of the whole text as a rule; None if it is no such pattern, or not supported."""
    if not (pattern.startswith("^") and pattern.endswith("$")) or "/" in pattern:
        return None
    rule = f"/{pattern[1:-1]}/"
    failed, _ = LLMatcher.validate_grammar_with_warnings(f"start: T\nT: {rule}")
    return None if failed else rule


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
