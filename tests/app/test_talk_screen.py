from pathlib import Path

import pytest

from app.widgets.talkbar import BLOCKS, bars
from mlx_gemma4.capture.speechgate import SpeechGate
from mlx_gemma4.errors import Gemma4Error
from tests.app.host import FakeGate, Stage, World, live, recorded, shot, staged


def recording_seconds(stage: Stage) -> float:
    recording = stage.app.workspace.conversation.recording
    assert recording is not None
    return recording.seconds


@live
async def test_space_records_and_space_sends(tmp_path: Path) -> None:
    async with staged(tmp_path, ["I heard you."]) as stage:
        await stage.press("space")
        await stage.until(lambda: recorded(stage, 0.2))
        for words in ("● rec", "-18 dB", "/ 0:30", "Studio Microphone · space or F4 sends"):
            assert words in stage.text
        assert "listening · esc discards the recording" in stage.text
        await stage.press("space")
        await stage.until(lambda: "I heard you." in stage.text)
        (sound,) = stage.app.workspace.conversation.history.turns[1].attachments
        assert sound.seconds >= 0.2
        await stage.until(lambda: stage.world.microphone.closed)
        assert "● rec" not in stage.text


@live
async def test_space_in_the_middle_of_words_is_a_space(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("a", "space", "b")
        await stage.until(lambda: stage.app.chat.prompt.text == "a b")
        assert not stage.app.chat.voice.active


@live
async def test_escape_discards_a_recording(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("f4")
        await stage.until(lambda: recorded(stage, 0.1))
        await stage.press("escape")
        await stage.until(lambda: stage.app.workspace.conversation.recording is None)
        assert not stage.app.workspace.conversation.history.turns
        await stage.until(lambda: not stage.app.chat.talk_bar.display)


@live
async def test_a_recording_is_sent_by_itself_after_silence(tmp_path: Path) -> None:
    world = World(gate=FakeGate(5))
    async with staged(
        tmp_path, ["By itself."], settings="stop_after = 0.5\n", world=world
    ) as stage:
        await stage.press("f4")
        await stage.until(lambda: "By itself." in stage.text)


@live
async def test_the_silence_that_ends_a_recording_is_no_part_of_it(tmp_path: Path) -> None:
    world = World(gate=FakeGate(5))
    async with staged(tmp_path, settings="stop_after = 0.5\n", world=world) as stage:
        await stage.press("f4")
        await stage.until(lambda: stage.app.workspace.conversation.history.turns)
        await stage.until(lambda: stage.app.workspace.conversation.recording is None)
        (sound,) = stage.app.workspace.conversation.history.turns[1].attachments
        assert sound.seconds == 5 * 0.04


@live
async def test_a_pause_after_which_somebody_goes_on_belongs_to_the_recording(
    tmp_path: Path,
) -> None:
    speaks = [1.0]
    gate = SpeechGate(lambda _: speaks[0], closes_after=30.0, waits=False)
    world = World(gate=gate)
    async with staged(tmp_path, settings="stop_after = 30.0\n", world=world) as stage:
        await stage.press("f4")
        await stage.until(lambda: recorded(stage, 0.2))
        speaks[0] = 0.0
        read = world.microphone.left
        await stage.until(lambda: world.microphone.left <= read - 2)  # one was on its way
        read, before = world.microphone.left, recording_seconds(stage)
        await stage.until(lambda: world.microphone.left <= read - 10)
        assert recording_seconds(stage) <= before + 0.04  # the frame in which the quiet starts
        speaks[0] = 1.0
        await stage.until(lambda: recorded(stage, before + 15 * 0.04))


@live
async def test_hands_free_goes_on_in_another_conversation(tmp_path: Path) -> None:
    world = World(gate=FakeGate(5))
    async with staged(tmp_path, ["One.", "Two."], world=world) as stage:
        await stage.press("f7")
        await stage.until(lambda: "One." in stage.text)
        first = stage.app.workspace.conversation
        await stage.press("ctrl+n")
        await stage.until(lambda: stage.app.workspace.conversation is not first)
        world.gate._left = 5
        await stage.until(lambda: "Two." in stage.text)
        (sound,) = stage.app.workspace.conversation.history.turns[1].attachments
        assert sound.seconds == 5 * 0.04


@live
async def test_a_recording_ends_with_its_conversation(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("f4")
        await stage.until(lambda: recorded(stage, 0.1))
        await stage.press("ctrl+n")
        await stage.until(lambda: stage.world.microphone.closed)
        assert not stage.app.chat.voice.active
        assert stage.app.workspace.conversation.recording is None


@live
async def test_hands_free_answers_whenever_somebody_has_spoken(tmp_path: Path) -> None:
    world = World(gate=FakeGate(8))
    async with staged(tmp_path, ["One.", "Two."], world=world) as stage:
        await stage.press("f7")
        await stage.until(lambda: "One." in stage.text)
        assert stage.app.chat.voice.active
        world.gate._left = 8
        await stage.until(lambda: "Two." in stage.text)
        await stage.press("f7")
        await stage.until(lambda: world.microphone.closed)


@live
async def test_a_watched_screen_that_is_switched_off_shows_nothing_any_more(
    tmp_path: Path,
) -> None:
    world = World(screen=shot(tmp_path, "screen"))
    async with staged(tmp_path, settings="watch_seconds = 1.0\n", world=world) as stage:
        await stage.press("f9")
        history = stage.app.workspace.conversation.history
        await stage.until(lambda: history.waiting)
        (picture,) = history.waiting.values()
        await stage.press("f9")
        await stage.until(lambda: not history.waiting)
        assert not (stage.app.workspace.journal.folder / picture.file).exists()
        await stage.ask("what do you see?")
        assert history.turns[1].attachments == ()


@live
async def test_the_bar_says_how_far_the_engine_is_behind(tmp_path: Path) -> None:
    async with staged(tmp_path, hearing_speed=0.2) as stage:
        await stage.press("f4")
        await stage.until(lambda: "s behind" in stage.text)


@live
async def test_answers_are_read_aloud_until_escape(tmp_path: Path) -> None:
    said = tmp_path / "said"
    world = World(voice=["sh", "-c", f"cat >> {said}; sleep 30"])
    async with staged(tmp_path, ["One. Two."], world=world) as stage:
        await stage.press("f8")
        await stage.ask("count")
        await stage.until(lambda: stage.app.workspace.conversation.state == "speaking")
        await stage.until(lambda: "speaking · esc stops the voice" in stage.text)
        await stage.until(lambda: said.is_file() and said.read_text())
        await stage.press("escape")
        await stage.until(lambda: stage.app.workspace.conversation.state == "ready")
        assert said.read_text().strip() in ("One.", "One. Two.")


@live
async def test_answers_are_still_read_aloud_after_another_voice_was_chosen(tmp_path: Path) -> None:
    world = World(voice=["sh", "-c", "cat > /dev/null; sleep 30"])
    async with staged(tmp_path, ["One."], world=world) as stage:
        await stage.press("f8")
        stage.app.workspace.change(rate=220)
        await stage.ask("count")
        await stage.until(lambda: stage.app.workspace.conversation.state == "speaking")


@live
async def test_a_computer_without_a_voice_says_so(tmp_path: Path) -> None:
    world = World(
        voice=Gemma4Error(
            "voice_missing", "Answers cannot be read aloud", "No voice.", "Install one."
        )
    )
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f8")
        await stage.until(lambda: "Answers cannot be read aloud" in stage.text)


@live
async def test_a_watched_screen_has_a_red_mark_and_shows_the_newest_picture(
    tmp_path: Path,
) -> None:
    world = World(screen=shot(tmp_path, "screen"))
    async with staged(tmp_path, settings="watch_seconds = 1.0\n", world=world) as stage:
        await stage.press("f9")
        await stage.until(lambda: "● screen" in stage.text)
        history = stage.app.workspace.conversation.history
        await stage.until(lambda: len(history.waiting) == 1)
        first = next(iter(history.waiting))
        changed = shot(tmp_path, "screen")
        changed.image.paste("white", (0, 0, 640, 400))
        world.screen = changed
        await stage.until(lambda: history.waiting and first not in history.waiting)
        assert len(history.waiting) == 1
        assert stage.app.chat.prompt.text == ""
        await stage.press("f9")
        await stage.until(lambda: "● screen" not in stage.text)


@live
async def test_a_screen_that_cannot_be_watched_is_a_card(tmp_path: Path) -> None:
    world = World(
        screen=Gemma4Error(
            "screenshot_failed", "No picture of the screen was taken", "None.", "Do this."
        )
    )
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f9")
        await stage.until(lambda: "No picture of the screen was taken" in stage.text)
        assert not stage.app.chat.media.watching


def test_the_level_is_drawn_on_a_fixed_scale() -> None:
    assert bars((-60.0, 0.0, -float("inf"), -30.0), 4) == f" {BLOCKS[-1]} {BLOCKS[4]}"
    assert bars((0.0,), 3) == f"  {BLOCKS[-1]}"


@live
async def test_what_ends_listening_is_the_key_of_the_settings(tmp_path: Path) -> None:
    own = '[keys]\nhands_free = "ctrl+y"\ntalk = ""\n'
    async with staged(tmp_path, settings=own, world=World(gate=FakeGate(0))) as stage:
        await stage.press("ctrl+y")
        await stage.until(lambda: "Ctrl+Y ends" in stage.text)
        await stage.press("ctrl+y", "space")
        await stage.until(lambda: "/talk ends" in stage.text)


@live
async def test_hands_free_too_a_typed_question_is_asked_once(tmp_path: Path) -> None:
    async with staged(tmp_path, ["One.", "Two."], world=World(gate=FakeGate(0))) as stage:
        await stage.press("f7")
        await stage.ask("typed")
        assert stage.app.chat.prompt.text == ""
        await stage.press("enter")
        await stage.pilot.pause()
        assert len(stage.app.workspace.conversation.history.turns) == 2


@live
async def test_a_voice_that_cannot_be_used_changes_no_setting(tmp_path: Path) -> None:
    unusable = Gemma4Error("voice_unusable", "It cannot be used", "No such program.", "Choose.")
    async with staged(tmp_path) as stage:
        workspace = stage.app.workspace
        workspace.change(speak=True)
        stage.world.voice = unusable
        with pytest.raises(Gemma4Error):
            workspace.change(voice="| nothing")
        workspace.change(theme="light")
        assert workspace.settings.voice == "" and workspace.conversation.speaks
        assert "nothing" not in workspace.path.read_text()
        workspace.change(speak=False)
        with pytest.raises(Gemma4Error):
            workspace.change(speak=True)
        workspace.change(theme="dark")
        assert not workspace.settings.speak and "speak = true" not in workspace.path.read_text()
