"""`gemma4 --plain`: line by line."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import plain
from app.conversation.store import ConversationStore
from app.workspace import Workspace
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.app.host import COUNTED


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
    worker = ScriptedWorker(["Hello yourself.", "A note."])
    workspace = Workspace(worker, ConversationStore(tmp_path / "all"), tmp_path / "config")
    plain.PlainProgram(workspace, iter(lines), shown.append).run()
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
    asked = [
        one.text for one in workspace.conversation.history.turns.values() if one.role == "user"
    ]
    assert asked == ["hello", "and this?"]
    workspace.close()
    worker.close()


def test_no_line_ends_the_plain_program_and_a_plain_blank_finds_a_file(tmp_path: Path) -> None:
    (tmp_path / "Shot 9.41\u202fPM.txt").write_text("a note")
    lines = ["/file ~nobodyhere/x", "/file \0", f"/file {tmp_path}/Shot 9.41 PM.txt", "and?"]
    shown: list[str] = []
    worker = ScriptedWorker(["A note."])
    workspace = Workspace(worker, ConversationStore(tmp_path / "all"), tmp_path / "config")
    plain.PlainProgram(workspace, iter(lines), shown.append).run()
    text = "".join(shown)
    assert text.count("Error: ") == 2 and "There is no file \0." in text
    assert "PM.txt goes with the next question." in text and "A note.\n" in text
    workspace.close()
    worker.close()


def test_a_worker_that_crashed_is_reported_and_runs_for_the_next_line(tmp_path: Path) -> None:
    shown: list[str] = []
    worker = ScriptedWorker(["One.", "Two.", "Three.", "Four."])

    def lines() -> Iterator[str]:
        for line in ("count", "/again", "/new", "/model tiny"):
            yield line
            worker.crash()
        yield "on"

    workspace = Workspace(worker, ConversationStore(tmp_path / "all"), tmp_path / "config")
    plain.PlainProgram(workspace, lines(), shown.append).run()
    text = "".join(shown)
    assert text.count("Error: The model's worker has stopped.") == 4 == text.count("Error: ")
    assert text.index("One.") < text.index("Two.") < text.index("A new") < text.index("Three.")
    workspace.close()
    worker.close()


def test_ctrl_c_stops_an_answer_and_ends_its_line(tmp_path: Path) -> None:
    shown: list[str] = []

    def write(text: str) -> None:
        shown.append(text)
        if "two" in text:
            raise KeyboardInterrupt  # as a key does while the answer comes

    worker = ScriptedWorker([f"one two three {COUNTED}"], tokens_per_second=8)
    workspace = Workspace(worker, ConversationStore(tmp_path / "all"), tmp_path / "config")
    plain.PlainProgram(workspace, iter(["count", "/help"]), write).run()
    answer, facts, following, *_ = "".join(shown).split("Tiny model: ")[1].split("\n")
    assert answer.startswith("one two") and not answer.endswith("ninety")
    assert facts.endswith("stopped") and following == plain.HELP.split("\n")[0]
    workspace.close()
    worker.close()


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
    (tmp_path / "settings.toml").write_text("nonsense = 1\n")
    worker = ScriptedWorker(["a\x1b[2Jb", "Still here."])
    workspace = Workspace(worker, ConversationStore(tmp_path / "all"), tmp_path)
    plain.PlainProgram(workspace, iter(["hello", "/model tinny", "on"]), plain._write).run()
    text = capsys.readouterr().out
    assert text.startswith("settings.toml: there is no setting nonsense; it is left as it is.\n")
    assert "Tiny model: a[2Jb\n" in text
    assert "tinny" in text and "Tiny model: Still here." in text
    assert (tmp_path / "settings.toml").read_text() == "nonsense = 1\n"
    workspace.close()
    worker.close()
