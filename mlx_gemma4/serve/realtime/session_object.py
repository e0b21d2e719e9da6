"""The session of the Realtime API as JSON: its defaults, and what `session.update` changes. Pure.

https://platform.openai.com/docs/api-reference/realtime-client-events/session/update, the shape of
2025-08 ("GA"). An update is merged into the session; an error names the field that is refused.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from .. import fields
from ..request_fields import asks
from .refusals import as_refusal, refused

Object = dict[str, Any]

RATE = 24_000
"""Samples a second of sound in both directions: 16-bit PCM, little-endian, mono."""
_PCM = {"type": "audio/pcm", "rate": RATE}

PADDING_MS = 300
"""How much of the sound before speech is heard, in ms, by default."""
_SERVER_VAD: Object = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": PADDING_MS,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: Object = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
EAGERNESS = {"low": 800, "medium": 500, "high": 300, "auto": 500}
"""Milliseconds of quiet after which a turn is over: `semantic_vad` is mapped to the gate."""

_OWN = ("id", "object", "type", "conversation_id", "expires_at")
"""Fields that only the server sets; they are ignored, for clients send a whole session back."""
_NULLABLE = ("turn_detection", "transcription", "noise_reduction", "idle_timeout_ms", "tracing")
"""Fields that null switches off; in all others null asks for nothing."""

# fields of the API before 2025-08; to ignore them would change what a client asked for
_OLD = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
}

_UNDONE: Mapping[str, tuple[Any, ...]] = {
    "prompt": (),
    "include": (),
    "parallel_tool_calls": (True,),
    "reasoning.effort": ("none", "minimal"),
    "audio.input.transcription.prompt": (),
    "audio.input.transcription.keywords": (),
}
"""Unsupported fields that would change answers or transcripts, with the values that ask for
nothing, besides empty ones."""


def new_session(session_id: str, model: str, expires_at: int, speaks: bool) -> Object:
    """Return the session before a client changes it.

    Args:
        expires_at: when it ends, in seconds since 1970.
        speaks: whether a voice is installed; without one answers are text.
    """
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio" if speaks else "text"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "include": None,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_SERVER_VAD),
            },
            "output": {"format": dict(_PCM), "voice": "default", "speed": 1.0},
        },
    }


def updated(session: Object, changes: object, speaks: bool) -> Object:
    """Merge an update into a session; fields that it does not have stay.

    Args:
        session: as it is; it is not changed.
        changes: the `session` of the event.
        speaks: whether a voice is installed.

    Raises:
        Gemma4Error: a field has a wrong value, or asks for something unsupported;
            `facts["param"]` names it.
    """
    given = without_nulls(_object(changes, "session"))
    need_current(given, "session")
    if given.get("type", "realtime") != "realtime":
        raise _unsupported("session.type", given["type"], '"realtime"')
    result = copy.deepcopy(session)
    own = {name: value for name, value in given.items() if name not in _OWN}
    _merge(result, own)
    _check(result, speaks)
    if "turn_detection" in given.get("audio", {}).get("input", {}):
        wanted = given["audio"]["input"]["turn_detection"]
        before = session["audio"]["input"]["turn_detection"]
        result["audio"]["input"]["turn_detection"] = _turn_detection(before or {}, wanted)
    return result


def without_nulls(given: Mapping[str, Any]) -> Object:
    """Return what was sent, without null fields; those that null switches off stay."""
    return {
        name: without_nulls(value) if isinstance(value, Mapping) else value
        for name, value in given.items()
        if value is not None or name in _NULLABLE
    }


def need_current(given: Mapping[str, Any], param: str) -> None:
    """Raise Gemma4Error for a field that a session or a response had before August 2025."""
    for old, new in _OLD.items():
        if old in given:
            raise refused(
                "unknown_parameter",
                f"{param}.{old} is of the API before August 2025.",
                f"Use {param}.{new}.",
                f"{param}.{old}",
            )


def need_supported(given: Mapping[str, Any], param: str) -> None:
    """Raise Gemma4Error for an unsupported field of a session or a response."""
    for path, neutral in _UNDONE.items():
        value: Any = given
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if asks(value, neutral):
            raise _unsupported(f"{param}.{path}", value, repr(neutral[0]) if neutral else "nothing")


def need_same_sound(session: Object, wanted: object) -> None:
    """Raise Gemma4Error where a response wants another voice or format than its session has."""
    merged = copy.deepcopy(session)
    _merge(merged, {"audio": without_nulls(_object(wanted, "response.audio"))})
    if merged["audio"] != session["audio"]:
        raise _unsupported("response.audio", wanted, "what the session has; update that")


def tools_of(tools: object, param: str) -> tuple[Mapping[str, Any], ...]:
    """Return the tools of a session or of a response in the format of chat completions.

    Raises:
        Gemma4Error: one is no function, or malformed, or two have one name.
    """
    if not isinstance(tools, list):
        raise _unsupported(param, tools, "a list of functions")
    declared = []
    with as_refusal():
        for number, tool in enumerate(tools):
            where = f"{param}[{number}]"
            if _object(tool, where).get("type") != "function":
                raise _unsupported(f"{where}.type", tool.get("type"), '"function"')
            declared.append(fields.tool(tool, where))
        return fields.tools(declared, param)


def text_only(modalities: object, speaks: bool, param: str) -> bool:
    """Whether answers are text alone. Raises Gemma4Error for modalities that are impossible."""
    if modalities == ["text"]:
        return True
    if modalities not in (["audio"], ["text", "audio"], ["audio", "text"]):
        raise _unsupported(param, modalities, '["text"] or ["audio"]')
    if not speaks:
        raise refused(
            "voice_missing",
            "Answers cannot be spoken: this computer has no voice.",
            'Set output_modalities to ["text"], or install espeak-ng where the server runs.',
            param,
        )
    return False


def token_limit(value: object, param: str) -> int | None:
    """Return `max_output_tokens`; None for "inf". Raises Gemma4Error for anything else."""
    if value in (None, "inf"):
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _unsupported(param, value, 'a number of 1 or more, or "inf"')
    return value


def temperature_of(value: object, param: str) -> float | None:
    """Check a temperature, which the API lacks but this server accepts. Raises Gemma4Error."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 2:
        raise _unsupported(param, value, "a number from 0 to 2")
    return float(value)


def _check(session: Object, speaks: bool) -> None:
    need_supported(session, "session")
    text_only(session["output_modalities"], speaks, "session.output_modalities")
    token_limit(session["max_output_tokens"], "session.max_output_tokens")
    temperature_of(session.get("temperature"), "session.temperature")
    tools = tools_of(session["tools"], "session.tools")
    must_call(session["tool_choice"], tools, "session.tool_choice")
    if session["truncation"] not in ("auto", "disabled"):
        ratio = _object(session["truncation"], "session.truncation")
        if ratio.get("type") != "retention_ratio":
            raise _unsupported("session.truncation.type", ratio.get("type"), '"retention_ratio"')
    if not isinstance(session["instructions"], str):
        raise _unsupported("session.instructions", session["instructions"], "text")
    both = _object(session["audio"], "session.audio")
    for side in ("input", "output"):
        sound = _object(both.get(side), f"session.audio.{side}")
        form = _object(sound.get("format"), f"session.audio.{side}.format")
        if form.get("type") != "audio/pcm" or form.get("rate", RATE) != RATE:
            raise _unsupported(
                f"session.audio.{side}.format", form, '{"type": "audio/pcm", "rate": 24000}'
            )
    speed = session["audio"]["output"].get("speed")
    if not isinstance(speed, int | float) or not 0.25 <= speed <= 1.5:
        raise _unsupported("session.audio.output.speed", speed, "a number from 0.25 to 1.5")


def must_call(choice: object, tools: Sequence[Mapping[str, Any]], param: str) -> tuple[str, ...]:
    """Return the names of the tools of which one must be called; none where none must.

    Raises:
        Gemma4Error: it is neither "auto", "none" nor "required", or no function among `tools`.
    """
    names = tuple(str(tool["function"]["name"]) for tool in tools)
    match choice:
        case "auto" | "none":
            return ()
        case "required" if names:
            return names
        case {"type": "function", "name": str(name)} if name in names:
            return (name,)
    raise _unsupported(param, choice, '"auto", "none", "required", or a function among the tools')


def _turn_detection(before: Object, wanted: object) -> Object | None:
    """Return turn detection after an update that contains it; None: the client commits by hand."""
    param = "session.audio.input.turn_detection"
    if wanted is None:
        return None
    wanted = _object(wanted, param)
    kind = wanted.get("type", before.get("type", "server_vad"))
    defaults = {"server_vad": _SERVER_VAD, "semantic_vad": _SEMANTIC_VAD}.get(str(kind))
    if defaults is None:
        raise _unsupported(f"{param}.type", kind, '"server_vad", "semantic_vad" or null')
    start = before if before.get("type") == kind else defaults
    merged = {**start, **wanted, "type": kind}
    for name in ("create_response", "interrupt_response"):
        if not isinstance(merged[name], bool):
            raise _unsupported(f"{param}.{name}", merged[name], "true or false")
    if merged.get("idle_timeout_ms") is not None:
        raise _unsupported(f"{param}.idle_timeout_ms", merged["idle_timeout_ms"], "null")
    if kind == "semantic_vad" and str(merged["eagerness"]) not in EAGERNESS:
        raise _unsupported(f"{param}.eagerness", merged["eagerness"], ", ".join(EAGERNESS))
    if kind == "server_vad":
        quiet, threshold = merged["silence_duration_ms"], merged["threshold"]
        if not isinstance(quiet, int | float) or not 100 <= quiet <= 10_000:
            raise _unsupported(f"{param}.silence_duration_ms", quiet, "100 to 10000")
        if not isinstance(threshold, int | float) or not 0 < threshold < 1:
            raise _unsupported(f"{param}.threshold", threshold, "a number between 0 and 1")
        padding = merged["prefix_padding_ms"]
        if not isinstance(padding, int | float) or not 0 <= padding <= 5_000:
            raise _unsupported(f"{param}.prefix_padding_ms", padding, "0 to 5000")
    return merged


def _merge(into: Object, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = copy.deepcopy(value)


def _object(value: object, param: str) -> Object:
    if not isinstance(value, dict):
        raise _unsupported(param, value, "an object")
    return value


def _unsupported(param: str, value: object, allowed: str) -> Exception:
    return refused(
        "invalid_value", f"{param} is {str(value)[:80]!r}.", f"Allowed: {allowed}.", param
    )
