import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from docs import update
from mlx_gemma4 import cli
from mlx_gemma4.cli.answer import STATS
from mlx_gemma4.hub import catalog
from mlx_gemma4.media import images
from mlx_gemma4.session.session import Session

Run = Callable[..., tuple[int, str, str]]
GEMMA4 = [sys.executable, "-c", "import sys; from mlx_gemma4.cli import main; sys.exit(main())"]


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `gemma4 ask ARGUMENTS` on the random model; return status, stdout and stderr."""

    def run(*arguments: str, model: str | None = str(folder)) -> tuple[int, str, str]:
        chosen = ["--model", model] if model else []
        status = cli.main(["ask", *arguments, *chosen, "--max-tokens", "6"])
        return status, *capsys.readouterr()

    return run


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))


def test_the_answer_alone_goes_to_stdout(run: Run) -> None:
    status, out, err = run("hello", "--temperature", "1", "--seed", "4")
    assert status == 0
    answer = json.loads(run("hello", "--temperature", "1", "--seed", "4", "--json")[1])["answer"]
    assert out == answer + "\n"
    assert answer not in err


def test_a_stopped_answer_is_told_on_stderr(run: Run) -> None:
    assert "stopped at 6 tokens (--max-tokens)" in run("hello", "--seed", "1")[2]


def test_the_same_seed_gives_the_same_answer(run: Run) -> None:
    def answer(seed: str) -> str:
        return run("hello", "--temperature", "1", "--seed", seed)[1]

    assert answer("1") == answer("1") != answer("2")


def test_json_is_one_object_with_counts_and_speeds(run: Run) -> None:
    status, out, _ = run("hello", "--json", "--seed", "1")
    told = json.loads(out)
    assert status == 0
    assert out.count("\n") == 1
    assert set(told) == {"answer", "thought", "heard", "tool_calls", "reason", *STATS}
    assert (told["reply_tokens"], told["tool_calls"]) == (6, [])
    assert told["prompt_tokens"] > 6
    assert told["seconds_to_first_token"] > 0 < told["tokens_per_second"]


def test_stats_are_one_line_on_stderr(run: Run) -> None:
    line = run("hello", "--stats", "--seed", "1")[2].splitlines()[-1]
    assert line.startswith("prompt tokens ")
    assert "reply tokens 6; seconds to first token" in line


@pytest.mark.parametrize("question", [[], ["-"]])
def test_the_question_is_read_from_a_pipe(
    run: Run, monkeypatch: pytest.MonkeyPatch, question: list[str]
) -> None:
    direct = json.loads(run("what is é?", "--json", "--temperature", "0")[1])
    pipe(monkeypatch, "what is é?\n".encode())
    piped = json.loads(run(*question, "--json", "--temperature", "0")[1])
    assert piped["answer"] == direct["answer"]
    assert piped["prompt_tokens"] == direct["prompt_tokens"]


def test_several_pictures_may_follow_one_option(run: Run, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    for file in files:
        Image.new("RGB", (96, 96), "white").save(file)
    many = run(
        "hello", "--image", *files[:2], "--image", files[2], "--image-tokens", "70", "--json"
    )
    one = run("hello", "--image", files[0], "--image-tokens", "70", "--json")
    none = run("hello", "--json")
    tokens = [json.loads(out)["prompt_tokens"] for _, out, _ in (none, one, many)]
    assert tokens[2] - tokens[0] == 3 * (tokens[1] - tokens[0]) > 3 * 60


@pytest.mark.parametrize("question", ["what is this?", "hello", "Is it 3.5 or 4.5?", "why? "])
def test_a_question_after_a_picture_is_the_question(
    run: Run, tmp_path: Path, question: str
) -> None:
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for file in files:
        Image.new("RGB", (96, 96), "white").save(file)
    budget = ("--image-tokens", "70", "--json")
    for given in (files[:1], files):
        before = json.loads(run(question, "--image", *given, *budget)[1])
        after = json.loads(run("--image", *given, question, *budget)[1])
        assert after["prompt_tokens"] == before["prompt_tokens"]


def test_a_dash_after_a_picture_reads_the_question_from_the_pipe(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.new("RGB", (96, 96), "white").save(file := str(tmp_path / "a.png"))
    pipe(monkeypatch, b"hello")
    after = json.loads(run("--image", file, "-", "--json")[1])
    assert (
        after["prompt_tokens"]
        == json.loads(run("hello", "--image", file, "--json")[1])["prompt_tokens"]
    )


@pytest.mark.parametrize("missing", ["b.pgn", "folder/b", "/no/such/file"])
def test_a_picture_that_is_misspelt_is_an_error_and_no_question(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    Image.new("RGB", (96, 96), "white").save(file := str(tmp_path / "a.png"))
    pipe(monkeypatch, b"hello")
    status, _, err = run("--image", file, missing)
    assert (status, missing in err) == (2, True)


def test_the_system_text_and_thinking_stand_in_the_prompt(run: Run) -> None:
    plain, told, thinking = (
        json.loads(run("hello", "--json", *more)[1])["prompt_tokens"]
        for more in ([], ["--system", "be brief"], ["--think"])
    )
    assert plain < thinking < told


def test_without_a_model_one_line_says_that_it_is_a_demonstration(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    asked = []
    monkeypatch.setattr(catalog, "resolve", lambda name: asked.append(name) or folder)
    status, _, err = run("hello", model=None)
    assert (status, asked) == (0, [catalog.DEMONSTRATION])
    assert err.splitlines()[0] == (
        "No --model given: this is the tiny demonstration model, not Gemma."
    )


def test_a_note_about_a_picture_goes_to_stderr(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "film.gif")
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    frames[0].save(file, save_all=True, append_images=frames[1:])
    status, out, err = run("hello", "--image", file)
    assert status == 0
    assert f"{file}: Only the first of 3 frames is used." in err


def test_progress_of_a_long_prompt_shows_on_a_terminal_only(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "x" * 550
    monkeypatch.setattr(cli, "LONG_PROMPT", 550)
    assert "Reading the prompt" not in run(long)[2]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "Reading the prompt" not in run("short")[2]
    err = run(long)[2]
    assert "\r\x1b[KReading the prompt: 512 of 5" in err
    assert err.rindex("\r\x1b[K") > err.rindex("Reading the prompt")


def test_an_interrupt_ends_with_130_and_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "reply", interrupt)
    status, out, err = run("hello")
    assert (status, out, err.strip()) == (130, "", "")


def test_a_defect_of_the_program_is_told_as_any_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Session, "reply", fail)
    status, _, err = run("hello")
    assert status == 2
    assert "Cause: ZeroDivisionError: a defect" in err
    assert "Traceback" not in err
    assert "Traceback" in run("hello", "--debug")[2]


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    command = [*GEMMA4, "ask", "hello", "--model", str(folder), "--max-tokens", "400"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_help_names_every_option_and_starts_nothing_heavy() -> None:
    code = (
        "import sys; from mlx_gemma4 import cli\n"
        "try: cli.main(['ask', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'mlx', 'numpy', 'PIL', 'tokenizers'} & set(sys.modules), sys.modules.keys()"
    )
    environment = {**os.environ, "COLUMNS": "200"}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    for option in cli.OPTIONS:
        assert option.flag in told
        assert option.help in told


def test_the_budgets_of_the_option_are_those_of_the_pictures() -> None:
    (option,) = (option for option in cli.OPTIONS if option.flag == "--image-tokens")
    assert option.choices == images.BUDGETS


def test_the_page_about_the_command_line_lists_the_options_as_they_are() -> None:
    page = update.PAGE.read_text(encoding="utf-8")
    assert update.updated(page) == page, "run: python -m docs.update"
