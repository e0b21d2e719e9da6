"""`gemma4 --plain`: line by line."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import plain
from app.conversation.store import ConversationStore
from app.settings import FILE
from app.workspace import Workspace
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.app.host import COUNTED


@contextmanager
def played(
    folder: Path,
    answers: Sequence[str],
    lines: Sequence[str] | Callable[[ScriptedWorker], Iterator[str]],
    write: Callable[[str], None],
    tokens_per_second: float = math.inf,
) -> Iterator[Workspace]:
    """Have all lines typed."""
    with ScriptedWorker(answers, tokens_per_second) as worker:
        workspace = Workspace(worker, ConversationStore(folder / "all"), folder)
        typed = lines(worker) if callable(lines) else iter(lines)
        plain.PlainProgram(workspace, typed, write).run()
        yield workspace
        workspace.close()


def test_the_plain_program_talks_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note")
    lines = [
        "hello",
        f"/file {tmp_path / 'note.txt'}",
        "and this?",
        "/nonsense",
        "/help",
        "/quit",
        "x",
    ]
    shown: list[str] = []
    with played(tmp_path, ["Hello yourself.", "A note."], lines, shown.append) as workspace:
        turns = workspace.conversation.history.turns.values()
    text = "".join(shown)
    for words in (
        "Ready.",
        "Tiny model: Hello yourself.\n",
        "note.txt goes with the next question.",
        "Tiny model: A note.\n",
        "There is no command /nonsense",
        "/file PATH",
    ):
        assert words in text
    assert "\x1b" not in text and "\r" not in text
    assert [one.text for one in turns if one.role == "user"] == ["hello", "and this?"]


def test_no_line_ends_the_plain_program_and_a_plain_blank_finds_a_file(tmp_path: Path) -> None:
    (tmp_path / "Shot 9.41\u202fPM.txt").write_text("a note")
    lines = ["/file ~nobodyhere/x", "/file \0", f"/file {tmp_path}/Shot 9.41 PM.txt", "and?"]
    shown: list[str] = []
    with played(tmp_path, ["A note."], lines, shown.append):
        text = "".join(shown)
    assert text.count("Error: ") == 2 and "There is no file \0." in text
    assert "PM.txt goes with the next question." in text and "A note.\n" in text


def test_a_worker_that_crashed_is_reported_and_runs_for_the_next_line(tmp_path: Path) -> None:
    shown: list[str] = []

    def lines(worker: ScriptedWorker) -> Iterator[str]:
        for line in ("count", "/again", "/new", "/model tiny"):
            yield line
            worker.crash()
        yield "on"

    with played(tmp_path, ["One.", "Two.", "Three.", "Four."], lines, shown.append):
        text = "".join(shown)
    assert text.count("Error: The model's worker has stopped.") == 4 == text.count("Error: ")
    assert text.index("One.") < text.index("Two.") < text.index("A new") < text.index("Three.")


def test_ctrl_c_stops_an_answer_and_ends_its_line(tmp_path: Path) -> None:
    shown: list[str] = []

    def write(text: str) -> None:
        shown.append(text)
        if "two" in text:
            raise KeyboardInterrupt  # as a key does while the answer comes

    with played(tmp_path, [f"one two three {COUNTED}"], ["count", "/help"], write, 8):
        pass
    answer, facts, following, *_ = "".join(shown).split("Tiny model: ")[1].split("\n")
    assert answer.startswith("one two") and not answer.endswith("ninety")
    assert facts.endswith("stopped") and following == plain.HELP.split("\n")[0]


def test_words_that_are_no_utf8_are_asked_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"caf\xe9?\n/quit\n"), "utf-8")
    monkeypatch.setattr("sys.stdin", typed)
    monkeypatch.setattr(plain, "SubprocessWorker", lambda *_: ScriptedWorker(["Yes."]))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    plain.main()
    (kept,) = ConversationStore().list()
    assert kept.title == "caf??"


def test_what_is_wrong_in_the_settings_is_printed_and_a_wrong_model_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).write_text("nonsense = 1\n")
    lines = ["hello", "/model tinny", "on"]
    with played(tmp_path, ["a\x1b[2Jb", "Still here."], lines, plain._write):
        text = capsys.readouterr().out
    assert text.startswith("settings.toml: there is no setting nonsense; it is left as it is.\n")
    assert "Tiny model: a[2Jb\n" in text
    assert "tinny" in text and "Tiny model: Still here." in text
    assert (tmp_path / FILE).read_text() == "nonsense = 1\n"
