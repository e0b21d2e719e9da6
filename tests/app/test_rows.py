"""What the program offers beside questions and answers: resuming, searching, waiting, voices."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.conversation.history import History
from app.conversation.store import ConversationStore, title_of
from app.devices import voices
from app.devices.voices import SystemVoice
from app.screens import voice_input
from app.widgets.card import ErrorCard
from app.workspace import Workspace
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.live import Live
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.app.host import COUNTED, FakeGate, World, live, shot, staged
from tests.app.programs import Program


@live
async def test_a_question_that_is_sent_while_an_answer_comes_waits_for_its_end(
    tmp_path: Path,
) -> None:
    async with staged(
        tmp_path, ["one two three four five six", "Second."], tokens_per_second=2
    ) as stage:
        await stage.start("first?")
        await stage.write("second?")
        await stage.press("enter")
        await stage.until(lambda: "1 queued" in stage.text)
        assert not stage.app.chat.prompt.text
        await stage.until(lambda: "Second." in stage.text)
        first, answer, second, _ = stage.app.workspace.conversation.history.turns.values()
        assert (first.text, second.text) == ("first?", "second?")
        assert answer.state == "done" and answer.text.endswith("six")
        assert "queued" not in stage.text


@live
async def test_a_queued_question_leaves_what_is_written_meanwhile(tmp_path: Path) -> None:
    answers = [f"one {COUNTED}", "Second."]
    async with staged(tmp_path, answers, tokens_per_second=20) as stage:
        await stage.start("first?")
        await stage.send("second?")
        await stage.until(lambda: stage.app.chat.queued)
        await stage.write("a draft of the third")
        await stage.press("escape")
        await stage.until(lambda: "Second." in stage.text)
        assert stage.app.chat.prompt.text == "a draft of the third"


@live
async def test_a_picture_without_words_waits_for_the_answer_too(tmp_path: Path) -> None:
    world = World(clipboard=shot(tmp_path, "clipboard"))
    answers = [f"one {COUNTED}", "Second."]
    async with staged(tmp_path, answers, world=world, tokens_per_second=20) as stage:
        turns = stage.app.workspace.conversation.history.turns
        await stage.start("first?")
        await stage.press("ctrl+v")
        await stage.until(lambda: "[Image #1]" in stage.app.chat.prompt.text)
        await stage.press("enter")
        await stage.until(lambda: "1 queued" in stage.text)
        assert turns[2].state == "answering" and not stage.app.chat.prompt.text
        await stage.press("enter")  # nothing is left to be sent
        await stage.pilot.pause()
        assert turns[2].state == "answering" and len(stage.app.chat.queued) == 1
        await stage.press("escape")
        await stage.until(lambda: "Second." in stage.text)
        assert [one.name for one in turns[3].attachments] == ["clipboard"]


@live
async def test_what_is_attached_after_a_question_was_queued_goes_with_the_next_one(
    tmp_path: Path,
) -> None:
    world = World(clipboard=shot(tmp_path, "clipboard"))
    answers = [f"one {COUNTED}", "Second.", "Third."]
    async with staged(tmp_path, answers, world=world, tokens_per_second=20) as stage:
        history, prompt = stage.app.workspace.conversation.history, stage.app.chat.prompt
        await stage.start("first?")
        for number in (1, 2):
            await stage.press("ctrl+v")
            await stage.until(lambda n=number: f"[Image #{n}]" in prompt.text)
            assert prompt.text.count("[") == 1
            if number == 1:
                await stage.send("second?")
                await stage.until(lambda: stage.app.chat.queued)
        await stage.press("escape")
        await stage.until(lambda: "Second." in stage.text)
        assert [one.number for one in history.turns[3].attachments] == [1]
        assert [one.number for one in history.waiting.values()] == [2]
        await stage.until(lambda: stage.app.workspace.conversation.state == "ready")
        await stage.ask("third?")
        assert [one.number for one in history.turns[5].attachments] == [2]
        name = stage.app.workspace.journal.folder.name
    with ConversationStore(tmp_path / "conversations").open(name) as journal:
        read = History(journal.entries()).turns
        assert [[one.number for one in read[number].attachments] for number in (3, 5)] == [[1], [2]]


@live
async def test_conversations_are_found_by_what_was_asked_or_answered(tmp_path: Path) -> None:
    async with staged(tmp_path, ["The zebra is striped.", "Bread."]) as stage:
        for question in ("which animal?", "which food?"):
            await stage.ask(question)
            await stage.press("ctrl+n")
            await stage.until(lambda: not stage.app.workspace.conversation.history.turns)
        await stage.press("ctrl+r")
        await stage.until(lambda: "which animal?" in stage.text and "which food?" in stage.text)
        await stage.press("slash", *"STRIPED zeb")
        await stage.until(lambda: "which food?" not in stage.text)
        assert "which animal?" in stage.text
        await stage.press("enter", "enter")
        await stage.until(lambda: "The zebra is striped." in stage.text)


def test_a_search_for_what_nobody_wrote_finds_nothing(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    assert list(store.find("anything")) == []


@live
async def test_after_a_crash_the_conversation_is_offered_once(tmp_path: Path) -> None:
    async with staged(tmp_path, ["Blue."]) as stage:
        await stage.ask("which colour?")
        (file,) = (tmp_path / "config").glob("running*.json")
        noted = json.loads(file.read_text())
        assert noted["conversation"] == stage.app.workspace.journal.folder.name
    assert not file.exists()  # it was closed
    noted["pid"] = 2**22 + 1  # higher than Linux's numbers: a process that is gone
    file.write_text(json.dumps(noted))
    async with staged(tmp_path) as stage:
        await stage.until(lambda: "ended unexpectedly" in stage.text)
        assert "which colour?" in stage.text and "resume it" in stage.text
        await stage.press("ctrl+t")
        await stage.until(lambda: "Blue." in stage.text)
        await stage.until(lambda: not stage.app.chat.query(ErrorCard))
    async with staged(tmp_path) as stage:
        assert not stage.app.chat.query(ErrorCard)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with ScriptedWorker() as worker:
        opened = Workspace(worker, ConversationStore(tmp_path / "all"), tmp_path)
        yield opened
        opened.close()


def test_another_program_that_runs_is_no_crash(tmp_path: Path, workspace: Workspace) -> None:
    workspace.conversation.send("hello")
    (trash := workspace.store.folder / "trash/deleted").mkdir(parents=True)
    noted = {"pid": os.getppid(), "conversation": workspace.journal.folder.name}
    (other := tmp_path / "running-1.json").write_text(json.dumps(noted))
    assert workspace.note_running() == ""
    assert trash.is_dir()  # it may bring that back
    other.write_text(json.dumps({**noted, "pid": 2**22 + 1}))
    assert workspace.note_running() == workspace.journal.folder.name
    assert not other.exists()
    assert not trash.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a Mac's launchd takes note at once")
def test_a_program_that_was_killed_but_that_its_parent_keeps_is_a_crash(
    tmp_path: Path, workspace: Workspace
) -> None:
    workspace.conversation.send("hello")
    with subprocess.Popen(["sleep", "60"]) as killed:
        noted = {"pid": killed.pid, "conversation": workspace.journal.folder.name}
        (tmp_path / "running-1.json").write_text(json.dumps(noted))
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        assert workspace.note_running() == workspace.journal.folder.name


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_process_whose_name_is_no_utf8_runs(tmp_path: Path, workspace: Workspace) -> None:
    (named := Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))).symlink_to("/bin/sleep")
    with subprocess.Popen([named, "60"]) as running:
        noted = {"pid": running.pid, "conversation": ""}
        (other := tmp_path / "running-1.json").write_text(json.dumps(noted))
        workspace.note_running()
        running.kill()
    assert other.exists()


def test_a_program_that_ends_leaves_the_trash_and_the_note_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(pid: int) -> Workspace:
        monkeypatch.setattr(os, "getpid", lambda: pid)
        store = ConversationStore(tmp_path / "all")
        made = Workspace(ScriptedWorker(), store, tmp_path)
        made.note_running()
        return made

    first = program(os.getppid())  # one that runs
    first.conversation.send("hello")
    name = first.journal.folder.name
    first.conversation.close()
    first.store.delete(name)
    second = program(os.getpid() + 1)
    second.close()
    first.store.restore(name)
    assert [one.id for one in first.store.list()] == [name]
    third = program(2**22 + 1)
    assert (tmp_path / f"running-{os.getppid()}.json").exists()
    for one in (first, second, third):
        one.client.close()


def test_a_download_is_resumed_only_where_its_program_has_ended(
    tmp_path: Path, workspace: Workspace
) -> None:
    def left(name: str, **noted: object) -> None:
        (tmp_path / name).write_text(json.dumps({"model": name, "recipe": "6bit", **noted}))

    left("download-1.json", pid=os.getppid())
    assert workspace.take_interrupted() is None
    left("download-2.json", pid=2**22 + 1)
    assert workspace.take_interrupted() == ("download-2.json", "6bit")
    assert (tmp_path / "download-1.json").exists() and not (tmp_path / "download-2.json").exists()
    (tmp_path / f"download-{os.getpid()}.json").unlink()  # it has come
    left("download.json")  # of an earlier version
    assert workspace.take_interrupted() == ("download.json", "6bit")


@live
async def test_a_conversation_of_voice_alone_is_called_after_its_answer(tmp_path: Path) -> None:
    world = World(gate=FakeGate(8))
    async with staged(tmp_path, ["It costs nine euros."], world=world) as stage:
        await stage.press("space")
        await stage.until(lambda: "It costs nine euros." in stage.text)
        assert title_of(stage.app.workspace.journal.folder) == "Spoken: It costs nine euros."


@pytest.mark.parametrize(("headphones", "hears"), [(True, True), (False, False)])
def test_hands_free_hears_while_it_speaks_with_headphones_alone(
    tmp_path: Path, headphones: bool, hears: bool
) -> None:
    world = World(gate=FakeGate(10**9), voice=["sleep", "30"])
    settings = f"speak = true\nheadphones = {str(headphones).lower()}\n"

    @live
    async def run() -> None:
        async with staged(tmp_path, ["Hello there. " * 3], settings=settings, world=world) as stage:
            await stage.ask("say hello")
            await stage.until(lambda: stage.app.workspace.conversation.state == "speaking")
            await stage.press("f7")
            voice, conversation = stage.app.chat.voice, stage.app.workspace.conversation
            if hears:  # somebody speaks, and that cuts the voice
                await stage.until(lambda: conversation.recording is not None)
                assert conversation.state == "listening"
            else:
                await stage.until(lambda: voice._live is not None and voice._live.muted)
                await stage.pilot.pause(0.3)
                assert conversation.recording is None and conversation.state == "speaking"

    run()


@live
async def test_a_voice_is_not_cut_by_what_is_heard_of_it_as_hands_free_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = FakeGate(10**9)
    world = World(gate=gate, voice=["sleep", "30"])

    class SlowToReturn(Live):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            while gate._left == 10**9 and not gate.shuts:
                time.sleep(0.01)

    monkeypatch.setattr(voice_input, "Live", SlowToReturn)
    async with staged(tmp_path, ["Hello."], settings="speak = true\n", world=world) as stage:
        await stage.ask("say hello")
        conversation = stage.app.workspace.conversation
        await stage.until(lambda: conversation.state == "speaking")
        await stage.press("f7")
        stage.app.chat._speech_started()  # of what was on its way when it became mute
        read = world.microphone.left
        await stage.until(lambda: world.microphone.left <= read - 3)
        assert conversation.recording is None and conversation.state == "speaking"


SAY = """cat <<'END'
Anna                de_DE    # Hallo! Ich heisse Anna.
Ava (Premium)       en_US    # Hello! My name is Ava.
Eddy (English (UK)) en_GB    # Hello! My name is Eddy.
END"""


def test_the_voices_of_a_mac_are_listed_with_the_better_ones_first(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    program("say", SAY)
    assert voices.voices() == [
        SystemVoice("Ava (Premium)", "en_US", True),
        SystemVoice("Anna", "de_DE"),
        SystemVoice("Eddy (English (UK))", "en_GB"),
    ]
    assert voices.command() == ["say", "-r", "180", "-f", "-"]  # no -v: the system's own
    assert "Manage Voices" in voices.how_to_get()


def test_a_command_of_ones_own_speaks(program: Program) -> None:
    program("piper", "cat")
    assert voices.command("| piper -m 'my voice.onnx'") == ["piper", "-m", "my voice.onnx"]
    for wrong in ("| nobody-has-this", "|", "| 'open"):
        with pytest.raises(Gemma4Error) as caught:
            voices.command(wrong)
        assert caught.value.code == "voice_unusable"


@live
async def test_a_voice_is_heard_and_taken(tmp_path: Path) -> None:
    spoken = tmp_path / "spoken"
    world = World(voice=["sh", "-c", f"cat > {spoken}"])
    async with staged(tmp_path, world=world) as stage:
        stage.app.do("voices")
        await stage.until(lambda: "System voice" in stage.text and "Ava" in stage.text)
        assert "★ premium" in stage.text
        await stage.press("down", "s")
        await stage.until(lambda: spoken.is_file() and spoken.read_text() == voices.SAMPLE)
        await stage.press("enter")
        await stage.until(lambda: stage.app.workspace.settings.voice == "Ava (Premium)")


@live
async def test_more_files_than_a_question_takes_are_left_out_at_once(tmp_path: Path) -> None:
    paths = []
    for number in range(23):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_text(f"note {number}")
    async with staged(tmp_path) as stage:
        stage.app.chat.busy(stage.app.chat.media.files(paths), "file")
        told = stage.app._notifications
        await stage.until(lambda: any("3 of 23 are left out" in one.message for one in told))
        waiting = stage.app.workspace.conversation.history.waiting
        await stage.until(lambda: len(waiting) == 20)


@live
async def test_a_slash_alone_does_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("hello")
        await stage.press("slash", "enter")
        await stage.pilot.pause(0.2)
        assert len(stage.app.workspace.conversation.history.turns) == 2
        assert stage.app.chat.prompt.text == "/"
        await stage.press("down", "enter")
        await stage.until(lambda: stage.app.chat.prompt.text != "/")
