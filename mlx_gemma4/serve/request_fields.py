"""The fields of each dialect's requests: what is read, what is refused, what changes no answer.

`check` refuses by these tables, `openapi.py` describes the routes with them, and a test compares
them with the fields that published clients can send. A field in none of the tables is ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import logprobs
from .errors import ApiError
from .request import Schema

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
LIST: Schema = {"type": "array"}
OBJECT: Schema = {"type": "object"}
COUNT: Schema = {"type": "integer", "minimum": -1, "not": {"const": 0}}
SOME: Schema = {"oneOf": [TEXT, LIST]}

SAMPLING: Mapping[str, Schema] = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": -1},
    "seed": {"type": "integer"},
    "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
}
"""Read in every dialect, also in one that has no such field."""
LOGPROBS: Schema = {"type": "integer", "minimum": 0, "maximum": logprobs.MOST}
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "logprobs": (False,), "top_logprobs": (0,), "prompt_logprobs": (0,), "logit_bias": (),
    "repetition_penalty": (1,),
    "repeat_penalty": (1,), "length_penalty": (1,), "min_p": (0,), "typical_p": (1,),
    "mirostat": (0,), "best_of": (1,), "use_beam_search": (False,), "min_tokens": (0,),
    "ignore_eos": (False,), "stop_token_ids": (), "bad_words": (), "echo": (False,),
    "guided_json": (), "guided_regex": (), "guided_choice": (), "guided_grammar": (),
    "structured_outputs": (), "grammar": (), "add_generation_prompt": (True,),
    "continue_final_message": (False,), "moderation": (),
}  # fmt: skip
"""Refused in every dialect that does not read them, unless they are empty or one of these values:
fields that this or another server reads in some dialect."""


EMPTY: tuple[Any, ...] = (None, "", [], {})
"""Values that ask for nothing."""


def asks(value: Any, neutral: tuple[Any, ...] = ()) -> bool:
    """Whether a value asks for something: it is not empty, nor one of these."""
    return value not in EMPTY and value not in neutral


@dataclass(frozen=True)
class RequestFields:
    """The fields of one dialect.

    Attributes:
        read: what is read, with the JSON schema of its value; null is the same as nothing.
        required: those of them that must be there.
        refused: what is unsupported, with values that ask for nothing, besides null and empty ones.
        elsewhere: names that only other dialects use, with the name here.
        unused: what changes no answer.
    """

    read: Mapping[str, Schema]
    required: tuple[str, ...]
    refused: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def check(self, body: Mapping[str, Any]) -> None:
        """Raise ApiError for the first field that would change the answer but is not read."""
        for name, value in body.items():
            if name in self.read or not asks(value):
                continue
            if name in self.elsewhere:
                message = f"{name} is called {self.elsewhere[name]} here."
                raise ApiError(400, message, "unknown_parameter", name)
            neutral = self.refused.get(name, UNSUPPORTED.get(name))
            if neutral is not None and value not in neutral:
                only = f", only {neutral[0]!r}" if neutral else ""
                message = f"{name} is not supported{only}."
                raise ApiError(400, message, "unsupported_parameter", name)


CHAT = RequestFields(
    read={
        "messages": {**LIST, "minItems": 1},
        "model": TEXT,
        **SAMPLING,
        "max_tokens": COUNT,
        "max_completion_tokens": COUNT,
        "stop": SOME,
        "n": {"type": "integer", "minimum": 1, "maximum": 8},
        "logprobs": FLAG,
        "top_logprobs": LOGPROBS,
        "stream": FLAG,
        "stream_options": OBJECT,
        "tools": LIST,
        "tool_choice": {"oneOf": [TEXT, OBJECT]},
        "parallel_tool_calls": FLAG,
        "response_format": OBJECT,
        "reasoning_effort": TEXT,
        "chat_template_kwargs": OBJECT,
        "enable_thinking": FLAG,
        "thinking": OBJECT,
        "modalities": LIST,
    },
    required=("messages",),
    refused={
        "audio": (), "web_search_options": (), "functions": (), "function_call": ("auto", "none"),
        "verbosity": ("medium",),
    },
    elsewhere={
        "max_output_tokens": "max_completion_tokens", "stop_sequences": "stop",
        "instructions": "messages", "system": "messages", "input": "messages",
        "text": "response_format", "output_config": "response_format",
        "reasoning": "reasoning_effort",
    },
    unused=(
        "metadata", "prediction", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "safety_identifier", "service_tier", "store", "user",
    ),
)  # fmt: skip
"""POST /v1/chat/completions."""

RESPONSES = RequestFields(
    read={
        "input": SOME,
        "model": TEXT,
        "instructions": TEXT,
        **SAMPLING,
        "max_output_tokens": COUNT,
        "stop": SOME,
        "stream": FLAG,
        "tools": LIST,
        "tool_choice": {"oneOf": [TEXT, OBJECT]},
        "parallel_tool_calls": FLAG,
        "text": OBJECT,
        "reasoning": OBJECT,
        "include": LIST,
        "top_logprobs": LOGPROBS,
        "truncation": {"enum": ["auto", "disabled"]},
    },
    required=("input",),
    refused={
        "previous_response_id": (), "conversation": (), "background": (False,), "prompt": (),
        "context_management": (), "n": (1,), "image": (), "access_programs": (),
        "background_options": (),
    },
    elsewhere={
        "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens",
        "stop_sequences": "stop", "messages": "input", "system": "instructions",
        "response_format": "text.format", "output_config": "text.format",
        "reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity",
    },
    unused=(
        "max_tool_calls", "metadata", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "safety_identifier", "service_tier", "store", "stream_options",
        "user",
    ),
)  # fmt: skip
"""POST /v1/responses. `max_tool_calls` counts only calls of tools that are not here."""

MESSAGES = RequestFields(
    read={
        "messages": {**LIST, "minItems": 1},
        "model": TEXT,
        "system": SOME,
        **SAMPLING,
        "max_tokens": COUNT,
        "stop_sequences": SOME,
        "stream": FLAG,
        "tools": LIST,
        "tool_choice": OBJECT,
        "thinking": OBJECT,
        "output_config": OBJECT,
        "output_format": OBJECT,
    },
    required=("messages",),
    refused={
        "container": (), "mcp_servers": (), "compaction": (), "thread": (), "fallbacks": (),
        "n": (1,),
    },
    elsewhere={
        "max_completion_tokens": "max_tokens", "max_output_tokens": "max_tokens",
        "stop": "stop_sequences", "instructions": "system", "input": "messages",
        "response_format": "output_config.format", "text": "output_config.format",
        "reasoning": "thinking", "reasoning_effort": "thinking",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    },
    unused=(
        "betas", "billing_policy", "cache_control", "context_management", "diagnostics",
        "fallback_credit_token", "inference_geo", "metadata", "service_tier", "speed",
        "user_profile_id", "workspace_id",
    ),
)  # fmt: skip
"""POST /v1/messages, with and without `?beta=true`."""

TRANSCRIPTIONS = RequestFields(
    read={
        "file": {"type": "string", "format": "binary"},
        "model": TEXT,
        "language": TEXT,
        "response_format": {"enum": ["json", "text", "verbose_json", "srt", "vtt"]},
        "temperature": TEXT,
        "stream": TEXT,
        "timestamp_granularities": LIST,
    },
    required=("file",),
    refused={
        "prompt": (), "keywords": (), "languages": (), "include": (),
        "known_speaker_names": (), "known_speaker_references": (),
    },
    unused=("chunking_strategy",),
)  # fmt: skip
"""POST /v1/audio/transcriptions: a form; lists may be called `name[]`."""
