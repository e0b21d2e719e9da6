"""Typed look-ups in what a client sent; each error names the field (`param`)."""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..chat.grammar import reply_grammar
from ..chat.tools import is_tool
from ..errors import Gemma4Error
from ..events import ToolCall
from ..json_reader import is_deep
from ..limits import JSON_DEPTH
from ..runtime.commands import AddText
from .errors import ApiError
from .request import Media, RequestPart, RequestTurn, Role, Sampling, Schema
from .tool_schema import shown

Json = dict[str, Any]

MOST_TOOLS = 512
MOST_BYTES_OF_TOOLS = 4 << 20
MOST_STOPS = 16
NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
NAMES |= {dict: "an object", list: "a list"}
ROLES: Mapping[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "model",
}  # fmt: skip
"""OpenAI's roles of messages -> the roles here."""
DETAIL = {"low": 70, "high": 1120, "original": 1120}
"""Tokens of a picture by `detail`; any other is the model's own number."""


TEXTS = ("text", "refusal", "input_text", "output_text")
"""Types of a part that is a text, in Chat Completions or Responses; either reads all."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # half of a surrogate pair in JSON
_URL_LETTERS = str.maketrans("-_", "+/")


def decoded(text: str) -> bytes:
    """Decode base64, also with line breaks, with the letters for addresses, or without padding.

    Raises:
        ValueError: it is no base64.
    """
    letters = "".join(text.split()).translate(_URL_LETTERS).rstrip("=")
    return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)


def loaded(content: bytes) -> Any:
    """Parse JSON; half of a surrogate pair, as a cut emoji leaves it, becomes U+FFFD.

    Raises:
        ValueError, RecursionError: it is no JSON, or nested too deeply.
    """
    value = json.loads(content)
    if _HALF.search(content):
        written = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
        value = json.loads(written.decode("utf-16", "replace"))
    return value


def parsed(content: bytes) -> Json:
    """Parse a body that is a JSON object.

    Raises:
        ApiError: it is none, or nested too deeply.
    """
    try:
        body = loaded(content)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is not JSON ({str(error)[:200]}).", "invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body is not a JSON object.", "invalid_json")
    need_shallow(body, "")
    return body


def need_shallow(value: Any, param: str) -> None:
    """Raise ApiError for a value that is nested more than `JSON_DEPTH` levels deep."""
    if is_deep(value):
        raise ApiError(
            400, f"It is nested more than {JSON_DEPTH} levels deep.", param=param or None
        )


def get(body: Mapping[str, Any], name: str, kind: type, place: str = "") -> Any:
    """Return a field, which must have this type; None where it is left out or null."""
    value, param = body.get(name), f"{place}{name}"
    if value is None:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**53 else value
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise wrong(param, f"must be {NAMES[kind]}")
    return value


def needed(body: Mapping[str, Any], name: str, kind: type, place: str) -> Any:
    """As `get`, for a field that must be there."""
    value = get(body, name, kind, place)
    if value is None:
        raise wrong(f"{place}{name}", "is missing")
    return value


def unsupported(param: str) -> ApiError:
    """Make the error for an unsupported field that would change the answer."""
    return ApiError(400, f"{param} is not supported.", "unsupported_parameter", param)


def number(body: Mapping[str, Any], name: str, kind: type, low: float, high: float) -> Any:
    """Return a number within bounds; None where it is left out or null."""
    value = get(body, name, kind)
    if value is not None and not low <= value <= high:
        raise wrong(name, f"must be from {low:,} to {high:,}")
    return value


def wrong(param: str, what: str) -> ApiError:
    """Make the error for a field; `what` follows its name: "must be a text"."""
    return ApiError(400, f"{param} {what}.", "invalid_value", param)


def stops(body: Mapping[str, Any], name: str = "stop") -> tuple[str, ...]:
    """Return the texts that end a reply; the field is one or a list."""
    value = body.get(name)
    given = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise wrong(name, "must be a text or a list of texts")
    if len(given) > MOST_STOPS:
        raise wrong(name, f"may have {MOST_STOPS} texts")
    return tuple(one for one in given if one)


def sampling(
    body: Mapping[str, Any],
    limits: Sequence[str],
    stop: str = "stop",
    likeliest: int | None = None,
) -> Sampling:
    """Read how a reply is drawn; `limits` are fields for its most tokens, the first one wins."""
    most = [_limit(body, name) for name in limits]
    top_p = number(body, "top_p", float, 0, 1)
    top_k = number(body, "top_k", int, -1, 2**31)  # -1 means "all" on other servers
    seed = number(body, "seed", int, -(2**63), 2**64 - 1)
    presence, frequency = (
        number(body, f"{name}_penalty", float, -2, 2) or 0.0 for name in ("presence", "frequency")
    )
    return Sampling(
        max_tokens=next((limit for limit in most if limit is not None), None),
        temperature=number(body, "temperature", float, 0, 2),
        top_p=None if top_p is None else max(top_p, 1e-6),  # 0 is the most likely token
        top_k=None if top_k is None else max(top_k, 0),
        seed=None if seed is None else seed % 2**64,
        stop=stops(body, stop),
        likeliest=likeliest,
        presence=presence,
        frequency=frequency,
    )


def _limit(body: Mapping[str, Any], name: str) -> int | None:
    """Return the most tokens of a reply; -1 means "what fits" on other servers."""
    if get(body, name, int) == -1:
        return None
    limit: int | None = number(body, name, int, 1, 2**63)
    return limit and min(limit, 2**31)


def tools(declared: Sequence[Schema], param: str = "tools") -> tuple[Schema, ...]:
    """Return the tools. Raises ApiError for too many, too large ones, or a name used twice."""
    if len(declared) > MOST_TOOLS:
        raise wrong(param, f"may have {MOST_TOOLS} tools")
    if len(json.dumps(declared)) > MOST_BYTES_OF_TOOLS:
        raise wrong(param, f"may have {MOST_BYTES_OF_TOOLS >> 20} MiB")
    names = [tool["function"]["name"] for tool in declared]
    if len({*names}) < len(names):
        raise wrong(param, "must have different names")
    return tuple(declared)


def image(url: Any, detail: Any, param: str) -> Media:
    if not isinstance(url, str):
        raise wrong(param, "must be a text")
    tokens = DETAIL.get(detail) if isinstance(detail, str) else None
    return Media("image", url, tokens, param)


def sound(data: Any, param: str) -> Media:
    if not isinstance(data, str):
        raise wrong(param, "must be base64")
    return Media("sound", data, None, param)


def arguments(text: Any, param: str) -> Mapping[str, Any]:
    """Return the arguments of a call, from an object or its JSON."""
    try:
        given = text.strip() if isinstance(text, str) else text
        value = json.loads(given) if given and isinstance(given, str) else given or {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        if not isinstance(text, str):
            raise wrong(param, "must be a JSON object")
        value = {"malformed": text}  # a call that was cut, and is sent back
    need_shallow(value, param)
    return value


def role(message: Any, known: Mapping[str, Role], param: str) -> str:
    """Return the role of a message, which must be one of these."""
    if not isinstance(message, dict):
        raise wrong(param, "must be an object")
    name = message.get("role")
    if not isinstance(name, str) or name not in known:
        raise wrong(f"{param}.role", f"must be one of {', '.join(known)}")
    return name


def text(part: Mapping[str, Any], param: str) -> AddText:
    """Read a part whose type is in `TEXTS`."""
    name = "refusal" if part["type"] == "refusal" else "text"
    return AddText(get(part, name, str, f"{param}.") or "")


def content(
    given: Any, param: str, part: Callable[[Any, str], RequestPart | None], of: str = "parts"
) -> tuple[RequestPart, ...]:
    """Read a content: nothing, a text, or parts; one for which `part` returns None is left out."""
    if given is None or isinstance(given, str):
        return (AddText(given),) if given else ()
    given = [given] if isinstance(given, dict) else given
    if not isinstance(given, list):
        raise wrong(param, f"must be a text or a list of {of}")
    parts = (
        AddText(one) if isinstance(one, str) else part(one, f"{param}[{n}]")
        for n, one in enumerate(given)
    )
    return tuple(one for one in parts if one is not None)


def merged(turns: Sequence[RequestTurn], answered: bool = True) -> tuple[RequestTurn, ...]:
    """Merge consecutive turns of one role; instructions after the first turn become the user's.

    Raises:
        ApiError: there is nothing to answer, where they are to be answered.
    """
    result: list[RequestTurn] = []
    for turn in turns:
        if turn.role == "system" and result and result[-1].role != "system":
            turn = RequestTurn("user", turn.parts)  # only the first turn can be the system's
        if result and result[-1].role == turn.role:
            turn = RequestTurn(turn.role, (*result.pop().parts, *turn.parts))
        result.append(turn)
    if len(result) == 1 and result[0].role == "system":  # an instruction alone is what is asked
        result = [RequestTurn("user", result[0].parts)]
    if answered and (not result or result[-1].role != "user"):
        raise ApiError(
            400, "The last message must be the user's or a tool's.", "invalid_value", "messages"
        )
    return tuple(result)


def schema(given: Any, param: str) -> Schema:
    """Check a JSON schema that a reply must keep to.

    Raises:
        ApiError: it is none, or has something that cannot be kept to; `param` is the place in it.
    """
    if not isinstance(given, dict):
        raise wrong(param, "is missing" if given is None else "must be an object")
    try:
        reply_grammar(given, (), (), {})
    except Gemma4Error as error:
        place = f"{param}.{error.facts['param']}".rstrip(".")
        raise ApiError(400, f"{error.title}. {error.cause}", error.code, place) from None
    return given


def choice(given: Any, declared: Sequence[Schema]) -> str:
    """Return what is wanted of tools: "auto", "none", "required", or a tool's name."""
    if given is None or given in ("auto", "none"):
        return given or "auto"
    if given == "required" and declared:
        return "required"
    if given not in [tool["function"]["name"] for tool in declared]:
        raise wrong("tool_choice", "must be auto, none, required, or a tool that is there")
    return str(given)


def allowed(given: Any, declared: tuple[Schema, ...]) -> tuple[tuple[Schema, ...], Any]:
    """Return the tools that a `tool_choice` of allowed_tools leaves, and its mode; else as given.

    Raises:
        ApiError: it names what is no tool of the request, or has another mode.
    """
    if not isinstance(given, dict) or given.get("type") != "allowed_tools":
        return declared, given
    inner = get(given, "allowed_tools", dict, "tool_choice.") or given  # so in chat completions
    listed = get(inner, "tools", list, "tool_choice.") or []
    listed = [one for one in listed if isinstance(one, dict)]
    functions = (get(one, "function", dict, "tool_choice.tools.") or one for one in listed)
    names = {get(function, "name", str, "tool_choice.tools.") for function in functions}
    kept = tuple(one for one in declared if one["function"]["name"] in names)
    if not kept or len(kept) < len(names):
        raise wrong("tool_choice.tools", "must name tools of the request")
    if inner.get("mode") not in ("auto", "required"):
        raise wrong("tool_choice.mode", "must be auto or required")
    return kept, inner["mode"]


def tool(given: Mapping[str, Any], param: str, schema: str = "parameters") -> Schema:
    """Declare a function as in OpenAI's chat completions; `schema` is the field with its own."""
    name, parameters, strict = given.get("name"), given.get(schema), given.get("strict")
    if not isinstance(name, str) or not name:
        raise wrong(f"{param}.name", "must be a name")
    if any(letter.isspace() or letter in "{}" for letter in name):  # a call of it could not be read
        raise wrong(f"{param}.name", "must have no blanks and braces")
    if parameters is not None and not isinstance(parameters, dict):
        raise wrong(f"{param}.{schema}", "must be an object")
    function: Json = {"name": name, "description": str(given.get("description") or "")}
    if parameters is not None:
        function["parameters"] = parameters if strict is True else shown(parameters)
    if strict is True:
        function["strict"] = True
    declared = {"type": "function", "function": function}
    if not is_tool(declared):
        raise wrong(f"{param}.{schema}", "must be a JSON schema")
    return declared


def result(parts: Sequence[RequestPart]) -> Any:
    """Return the content of a tool's result: its text, or a list where there are pictures."""
    text = "\n".join(part.text for part in parts if isinstance(part, AddText))
    media = [part for part in parts if isinstance(part, Media)]
    return [*([text] if text else []), *media] if media else text


def call(identity: Any, name: Any, text: Any, param: str) -> ToolCall:
    """Read a tool call of an earlier reply."""
    if not isinstance(identity, str) or not isinstance(name, str) or not name:
        raise wrong(param, "must have an id and a name")
    return ToolCall(identity, name, arguments(text, f"{param}.arguments"))
