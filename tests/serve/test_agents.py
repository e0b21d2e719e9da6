"""The recorded requests of coding agents, with the real tokenizer: little is read again.

The model is as small as a model can be, and what it draws comes from a script: only the prompts and
what the caches hold of them are looked at.
"""

import json
import random
import re
import tarfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import mlx.core as mx
import pytest

from mlx_gemma4.chat.render import Prompt
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.checkpoint.load import save_folder
from mlx_gemma4.model.config import FULL, SLIDING, Config
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.runtime.worker import Worker
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.session import prefix_cache, rendering

from .serving import served

FIXTURES = Path(__file__).parents[1] / "fixtures"
WORDS = "a file path list of the text value that is read and then written to it for you".split()
FILLED = re.compile(r"\[(\d+) chars ([0-9a-f]{8})\]|\((\d+) characters of description\)")


@dataclass(frozen=True)
class Agent:
    """A program: its recording, in which order its requests come, and what it is answered."""

    name: str
    order: tuple[int, ...]
    call: tuple[str, dict[str, str], str]  # name, arguments, and its id in the recording
    others: tuple[int, ...] = ()  # requests beside the conversation: a title, a subagent


AGENTS = [
    Agent("opencode", (1, 0, 2, 3), ("bash", {"command": "ls"}, "call_1"), (0,)),
    Agent("qwen-code", (0, 3, 1, 2), ("glob", {"pattern": "x"}, "call_1"), (3,)),
    Agent("codex", (0, 1, 2), ("exec_command", {"cmd": "ls"}, "call_1")),
    Agent("claude-code", (0, 1, 2), ("Bash", {"command": "ls"}, "toolu_1")),
    Agent("pi", (0, 1, 2), ("bash", {"command": "ls"}, "call_1")),
]


def filled(text: str) -> str:
    """A recording with words where it has only their number, equal ones where it is equal."""

    def words(found: re.Match[str]) -> str:
        length, seed = int(found[1] or found[3]), found[2] or found[3]
        choice = random.Random(seed).choice
        made = ""
        while len(made) < length:
            made += choice(WORDS) + " "
        return made[:length]

    return FILLED.sub(words, text)


def requests(agent: Agent) -> list[tuple[str, dict[str, Any]]]:
    """Path and body of what the program posts."""
    recorded = json.loads(filled((FIXTURES / "clients" / f"{agent.name}.json").read_text()))
    posts = [one for one in recorded if isinstance(one.get("body"), dict)]
    return [(one["path"].removeprefix(f"/{agent.name}"), one["body"]) for one in posts]


def config() -> Config:
    """The ids of the 12B around two layers of eight numbers."""
    return Config.from_dict(
        {
            "model_type": "gemma4_unified",
            "boi_token_id": 255999,
            "eoi_token_id": 258882,
            "image_token_id": 258880,
            "boa_token_id": 256000,
            "eoa_token_index": 258883,
            "audio_token_id": 258881,
            "video_token_id": 258884,
            "eos_token_id": [1, 106],
            "text_config": {
                "vocab_size": 262144,
                "hidden_size": 8,
                "intermediate_size": 8,
                "num_hidden_layers": 2,
                "layer_types": [SLIDING, FULL],
                "num_attention_heads": 1,
                "num_key_value_heads": 1,
                "head_dim": 8,
                "global_head_dim": 8,
                "num_global_key_value_heads": 1,
                "attention_k_eq_v": True,
                "sliding_window": 1024,
                "max_position_embeddings": 65536,
                "final_logit_softcapping": 30.0,
            },
        }
    )


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model with the real tokenizer."""
    path = tmp_path_factory.mktemp("agents")
    with tarfile.open(FIXTURES / "gemma4_tokenizer.tar.xz") as archive:
        archive.extractall(path, filter="data")
    model = Gemma4(config())
    mx.eval(model.parameters())
    save_folder(model, path / "gemma4_tokenizer")
    return path / "gemma4_tokenizer"


@pytest.fixture(scope="module")
def tokenizer(real_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(real_folder)


@pytest.fixture(scope="module")
def client(real_folder: Path) -> Iterator[httpx2.Client]:
    with served(Worker(), EngineOptions(str(real_folder), slots=2)) as client:
        yield client


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> list[str]:
    """What replies are, one after another."""
    texts: list[str] = []

    def decode(model: Gemma4, _: Any, cache: Any, *rest: Any) -> Generator[int]:
        ids = tokenizer.encode(texts.pop(0), special=True)
        model.hidden(model.embed(ids), cache)
        yield from ids

    monkeypatch.setattr(prefix_cache, "decode", decode)
    return texts


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[Prompt]:
    """What was rendered for replies."""
    made: list[Prompt] = []
    render = rendering.render

    def recording(*given: Any, open_reply: bool, **more: Any) -> Prompt:
        prompt = render(*given, open_reply=open_reply, **more)
        if open_reply:
            made.append(prompt)
        return prompt

    monkeypatch.setattr(rendering, "render", recording)
    return made


def counts(answer: dict[str, Any]) -> tuple[int, int]:
    """(tokens of the prompt, those that were read), in whichever dialect."""
    usage = answer["usage"]
    if "cache_read_input_tokens" in usage:
        new = usage["input_tokens"] + (usage.get("cache_creation_input_tokens") or 0)
        return new + usage["cache_read_input_tokens"], new
    total = usage.get("prompt_tokens", usage.get("input_tokens"))
    details = usage.get("prompt_tokens_details") or usage["input_tokens_details"]
    return total, total - details["cached_tokens"]


def call_id(answer: dict[str, Any]) -> str:
    """The id of the call that an answer holds."""
    if "choices" in answer:
        return str(answer["choices"][0]["message"]["tool_calls"][0]["id"])
    if "output" in answer:
        return str(next(i["call_id"] for i in answer["output"] if i["type"] == "function_call"))
    return str(next(part["id"] for part in answer["content"] if part["type"] == "tool_use"))


def declared(tools: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Names of functions, and of their parameters."""
    for tool in tools:
        function = tool.get("function", tool)
        schema = function.get("parameters") or function.get("input_schema")
        if function.get("name") and schema is not None:
            yield function["name"], list(schema.get("properties") or {})


def spelled(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """The prompt with its control tokens."""
    return "".join(tokenizer._backend.id_to_token(i) for i in ids).replace("▁", " ")


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_the_second_turn_of_an_agent_reads_at_most_100_tokens(
    agent: Agent,
    client: httpx2.Client,
    script: list[str],
    prompts: list[Prompt],
    tokenizer: Tokenizer,
) -> None:
    posts = requests(agent)
    name, arguments, recorded_id = agent.call
    inner = ", ".join(f'{key}:<|"|>{value}<|"|>' for key, value in arguments.items())
    replies = [f"<|tool_call>call:{name}{{ {inner} }}<tool_call|>", "The total is 12.50.<turn|>"]
    identity, turns = recorded_id, 0
    for number in agent.order:
        path, body = posts[number]
        between = number in agent.others
        script.append("Files<turn|>" if between or turns > 1 else replies[turns])
        text = json.dumps({**body, "stream": False}).replace(f'"{recorded_id}"', f'"{identity}"')
        answer = client.post(path, content=text)
        assert answer.status_code == 200, answer.text
        total, new = counts(answer.json())
        prompt = spelled(prompts[-1].token_ids, tokenizer)
        assert prompt.endswith(("<|turn>model\n", "<channel|>", "<tool_response|>"))
        for tool, parameters in declared(body.get("tools") or ()):
            assert f"<|tool>declaration:{tool}{{" in prompt
            after = prompt.partition(f"<|tool>declaration:{tool}{{")[2].partition("<tool|>")[0]
            assert all(f"{parameter}:{{" in after for parameter in parameters), tool
        if between:
            continue
        if turns:
            assert new <= 100, f"{new} of {total} tokens were read again in turn {turns + 1}"
        else:
            identity = call_id(answer.json())
        turns += 1
