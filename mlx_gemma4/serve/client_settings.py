"""What to set in other programs so that they use this server: `gemma4 serve --print-config NAME`.

docs/serve.md is made from the same table.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import Gemma4Error

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What a server listens at to be reached at every address, and where a client here finds it."""

_SHELL = str.maketrans({**{c: f"\\{c}" for c in '"$`\\'}, "!": "\"'!'\""})


def in_shell(value: str) -> str:
    """Write a value between double quotes as a shell reads it."""
    return value.translate(_SHELL)


def in_json(value: str) -> str:
    """Write a value between double quotes as JSON, TOML, YAML, Python and JavaScript read it."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


@dataclass(frozen=True)
class ClientSettings:
    """The settings of one program.

    Attributes:
        title: its name.
        place: where the text goes.
        text: with {root} (http://address), {ws} (the same for a WebSocket), {key} and {model}.
        written: how a value is written there.
    """

    title: str
    place: str
    text: str
    written: Callable[[str], str] = in_json


CLIENTS: Mapping[str, ClientSettings] = {
    "openai": ClientSettings(
        "openai (Python, npm)",
        "the environment, or base_url= and api_key= of the client",
        'export OPENAI_BASE_URL="{root}/v1"\nexport OPENAI_API_KEY="{key}"',
        in_shell,
    ),
    "anthropic": ClientSettings(
        "anthropic (Python, npm)",
        "the environment, or base_url= and api_key= of the client",
        'export ANTHROPIC_BASE_URL="{root}"\nexport ANTHROPIC_API_KEY="{key}"',
        in_shell,
    ),
    "llm": ClientSettings(
        "llm",
        'extra-openai-models.yaml in the folder of `llm logs path`; then `llm -m gemma "hello"`',
        '- model_id: gemma\n  model_name: "{model}"\n  api_base: {root}/v1\n  api_key: "{key}"\n'
        "  vision: true\n  audio: true\n  supports_schema: true\n  supports_tools: true",
    ),
    "litellm": ClientSettings(
        "litellm",
        "the call",
        'litellm.completion(\n    "openai/{model}", messages,\n'
        '    api_base="{root}/v1", api_key="{key}",\n)',
    ),
    "langchain": ClientSettings(
        "langchain-openai",
        "the model's constructor",
        'ChatOpenAI(model="{model}", base_url="{root}/v1", api_key="{key}")',
    ),
    "pydantic-ai": ClientSettings(
        "pydantic-ai",
        "the model's constructor",
        'OpenAIChatModel(\n    "{model}", provider=OpenAIProvider(base_url="{root}/v1", '
        'api_key="{key}")\n)',
    ),
    "ai-sdk": ClientSettings(
        "AI SDK (@ai-sdk/openai-compatible)",
        "the provider; then provider('{model}')",
        'createOpenAICompatible({\n  name: "gemma",\n  baseURL: "{root}/v1",\n'
        '  apiKey: "{key}",\n  supportsStructuredOutputs: true,\n})',
    ),
    "opencode": ClientSettings(
        "opencode",
        "opencode.json of the project, or ~/.config/opencode/opencode.json",
        '{\n  "$schema": "https://opencode.ai/config.json",\n  "model": "gemma/{model}",\n'
        '  "provider": {\n    "gemma": {\n      "npm": "@ai-sdk/openai-compatible",\n'
        '      "options": {"baseURL": "{root}/v1", "apiKey": "{key}"},\n'
        '      "models": {"{model}": {"attachment": true, "tool_call": true}}\n    }\n  }\n}',
    ),
    "codex": ClientSettings(
        "codex",
        "~/.codex/config.toml",
        'model = "{model}"\nmodel_provider = "gemma"\n\n[model_providers.gemma]\n'
        'name = "Gemma 4"\nbase_url = "{root}/v1"\nwire_api = "responses"\n'
        'experimental_bearer_token = "{key}"',
    ),
    "claude-code": ClientSettings(
        "Claude Code",
        "the environment, before `claude`",
        'export ANTHROPIC_BASE_URL="{root}"\nexport ANTHROPIC_AUTH_TOKEN="{key}"\n'
        'export ANTHROPIC_MODEL="{model}"\nexport ANTHROPIC_DEFAULT_HAIKU_MODEL="{model}"\n'
        "export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
        in_shell,
    ),
    "qwen-code": ClientSettings(
        "qwen-code",
        "the environment, before `qwen`",
        'export OPENAI_BASE_URL="{root}/v1"\nexport OPENAI_API_KEY="{key}"\n'
        'export OPENAI_MODEL="{model}"',
        in_shell,
    ),
    "pi": ClientSettings(
        "pi",
        "~/.pi/agent/models.json; then `pi --provider gemma --model {model}`",
        '{\n  "providers": {\n    "gemma": {\n      "baseUrl": "{root}/v1",\n'
        '      "api": "openai-completions",\n      "apiKey": "{key}",\n      "models": [\n'
        '        {\n          "id": "{model}", "input": ["text", "image"], "reasoning": false,\n'
        '          "contextWindow": 32768, "maxTokens": 8192,\n'
        '          "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}\n'
        "        }\n      ]\n    }\n  }\n}",
    ),
    "aider": ClientSettings(
        "aider",
        "the environment, then the command",
        'export OPENAI_API_BASE="{root}/v1"\nexport OPENAI_API_KEY="{key}"\n'
        'aider --model "openai/{model}"',
        in_shell,
    ),
    "open-webui": ClientSettings(
        "Open WebUI",
        "its environment, or Settings > Connections",
        'OPENAI_API_BASE_URL="{root}/v1"\nOPENAI_API_KEY="{key}"\n'
        'AUDIO_STT_ENGINE="openai"\nAUDIO_STT_OPENAI_API_BASE_URL="{root}/v1"\n'
        'AUDIO_STT_OPENAI_API_KEY="{key}"',
        in_shell,
    ),
    "pipecat": ClientSettings(
        "pipecat",
        "the service",
        'OpenAIRealtimeLLMService(api_key="{key}", base_url="{ws}/v1/realtime")',
    ),
    "livekit": ClientSettings(
        "livekit-agents",
        "the model",
        'openai.realtime.RealtimeModel(\n    model="{model}", base_url="{root}/v1", '
        'api_key="{key}", modalities=["text"]\n)',
    ),
    "home-assistant": ClientSettings(
        "Home Assistant",
        "an integration that takes a base URL, such as Extended OpenAI Conversation (HACS)",
        "Base URL: {root}/v1\nAPI key: {key}\nModel: {model}",
        str,
    ),
}


def settings_text(name: str, root: str, model: str, key: str = "") -> str:
    """The lines to set in a program.

    Args:
        name: a key of CLIENTS.
        root: where the server is: "http://127.0.0.1:8080".
        model: the model's name.
        key: the server's API key; empty where it has none: the lines have a word that is ignored.

    Raises:
        Gemma4Error: there is no such program.
    """
    client = CLIENTS.get(name)
    if client is None:
        raise Gemma4Error(
            "client_unknown",
            "The settings of this program are not known",
            f"It is {name!r}.",
            f"Known are {', '.join(CLIENTS)}. Others take the address {root}/v1 as OpenAI's.",
        )
    return filled(client.text, root, client.written(model), client.written(key))


def root_of(host: str, port: int, https: bool) -> str:
    """Return where a client on this computer finds the server that listens there."""
    host = ANY.get(host, host)
    return f"{'https' if https else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def trusting(certificate: str) -> str:
    """Write how programs trust a certificate, wherever they are started."""
    file = shlex.quote(str(Path(certificate).absolute()))
    return (
        f"A self-signed certificate: Python trusts it with SSL_CERT_FILE={file}, "
        f"Node with NODE_EXTRA_CA_CERTS={file}"
    )


def filled(text: str, root: str, model: str, key: str = "") -> str:
    """Replace {root}, {ws}, {model} and {key} in a text."""
    words = {"{root}": root, "{ws}": root.replace("http", "ws", 1), "{model}": model}
    for word, value in {**words, "{key}": key or "none"}.items():
        text = text.replace(word, value)
    return text


def markdown() -> str:
    """Return all settings as Markdown, for docs/serve.md."""
    root, model = "http://127.0.0.1:8080", "gemma-4-12B-it-4bit"
    return "\n".join(
        f"**{client.title}** (`{name}`): {filled(client.place, root, model)}\n\n"
        f"```\n{filled(client.text, root, model)}\n```\n"
        for name, client in CLIENTS.items()
    )
