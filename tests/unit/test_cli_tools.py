"""`ask --tools FILE` and `ask --schema FILE`: which files they take, and what is printed."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mlx_gemma4 import cli
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.cli.answer import Printer
from mlx_gemma4.events import ToolCall
from mlx_gemma4.session import prefix_cache

WEATHER = {"type": "function", "function": {"name": "weather", "description": "of a city"}}
CALL = '<|tool_call>call:weather{city:<|"|>Paris<|"|>}<tool_call|><|tool_response>'


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([WEATHER]))
    return path


def ask(folder: Path, tools: Path, *more: str) -> int:
    return cli.main(["ask", "rain?", "--model", str(folder), "--tools", str(tools), *more])


def test_a_call_is_printed_and_not_run(
    folder: Path, tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = []

    def decode(model: Any, logits: Any, cache: Any, *rest: Any) -> Generator[int]:
        prompts.append(cache.offset)
        ids = Tokenizer.from_folder(folder).encode(CALL, special=True)
        model.hidden(model.embed(ids), cache)
        yield from ids

    monkeypatch.setattr(prefix_cache, "decode", decode)
    assert ask(folder, tools) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == ""
    assert 'The model calls a tool: weather {"city": "Paris"}' in shown.err.splitlines()
    assert ask(folder, tools, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tool_calls"] == [{"name": "weather", "arguments": {"city": "Paris"}}]
    assert cli.main(["ask", "rain?", "--model", str(folder)]) == 0
    assert prompts[0] == prompts[1] > prompts[2]  # without tools nothing is declared


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        ('{"type": "function"}', "not a list of functions"),
        ('[{"type": "function", "function": {}}]', "not a list of functions"),
    ],
)
def test_a_file_without_tools_is_an_error_before_the_model_is_loaded(
    tools: Path, content: str | bytes, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tools.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert ask(Path("no-such-model"), tools) == 2
    shown = capsys.readouterr().err
    assert f"The tools in {tools} cannot be used" in shown
    assert cause in shown


def test_a_file_that_is_missing_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(Path("no-such-model"), tmp_path / "none.json") == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_the_answer_keeps_to_the_schema_of_a_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["tea", "coffee"]}')
    assert cli.main(["ask", "what?", "--model", str(folder), "--schema", str(schema)]) == 0
    assert json.loads(capsys.readouterr().out) in ("tea", "coffee")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("[]", "It is not a JSON object."),
        ("{", "It is not JSON"),
        (None, "No such file"),
        ('{"not": {"type": "null"}}', 'not: Unimplemented keys: ["not"].'),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_the_model_is_loaded(
    tmp_path: Path, content: str | None, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "schema.json"
    if content is not None:
        schema.write_text(content)
    assert cli.main(["ask", "what?", "--model", "none", "--schema", str(schema)]) == 2
    assert f"Cause: {cause}" in capsys.readouterr().err


def test_a_call_is_shown_in_its_own_letters(capsys: pytest.CaptureFixture[str]) -> None:
    Printer().show(ToolCall("1", "weather", {"city": "Z\u00fcrich"}))
    assert capsys.readouterr().err == 'The model calls a tool: weather {"city": "Z\u00fcrich"}\n'
