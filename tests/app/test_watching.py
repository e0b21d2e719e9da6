"""A watched screen: when its pictures were taken, and what the model gets of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from textual.message import Message

from app.conversation.entries import Attachment, AttachmentAdded, from_json, to_json
from app.conversation.export import write
from app.conversation.journal import Journal
from app.conversation.journal_file import EVENTS
from app.conversation.journaled import JournaledHistory
from app.devices.screen import Shot
from app.devices.screen_watcher import ScreenChanged, ScreenWatcher
from mlx_gemma4.media.images import open_image
from mlx_gemma4.media.video import timed
from mlx_gemma4.runtime import commands as do
from tests.app.host import Stage, World, chart, live, recorded, staged

COLOURS = ("red", "white", "blue", "green", "black", "grey", "navy", "teal", "olive", "maroon")
VIDEO = 'watch_as = "video"\n'


def seen(number: int) -> Shot:
    return Shot(Image.new("RGB", (640, 400), COLOURS[number]), "screen")


def test_a_picture_is_told_with_the_time_at_which_it_was_seen() -> None:
    told: list[Message] = []
    pictures: Iterator[Shot | None] = iter([None, seen(0), seen(0), seen(1), None, seen(2)])
    times = iter([100.0, 102.0, 107.5, 131.0, 140.0, 165.25])

    def tell(message: Message) -> None:
        told.append(message)
        if len(told) == 3:
            watcher.close()

    watcher = ScreenWatcher(tell, 0.001, lambda: next(pictures), lambda: next(times))
    watcher.thread.join(10)
    assert [one.at for one in told if isinstance(one, ScreenChanged)] == [102.0, 131.0, 165.25]


async def watched(stage: Stage, *pictures: tuple[int, float]) -> Attachment:
    """Let the screen be watched, and return what waits after these pictures at these times."""
    for number, at in pictures:
        await stage.app.chat.media.seen(seen(number), at)
    stage.app.chat.draw()
    (waits,) = stage.app.workspace.conversation.history.waiting.values()
    return waits


@live
async def test_as_video_a_watched_screen_is_shown_with_the_times_of_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, settings=VIDEO) as stage:
        sent: list[do.Command] = []
        send = stage.engine.send

        def told(command: do.Command) -> int:
            sent.append(command)
            return send(command)

        monkeypatch.setattr(stage.engine, "send", told)
        await stage.press("f9")
        video = await watched(stage, (0, 102.0), (1, 131.0), (2, 165.25))
        (film,) = [one.video for one in sent if isinstance(one, do.AddVideo)][-1:]
        assert not isinstance(film, str | Path)
        assert [seconds for seconds, _ in timed(film)] == [0.0, 29.0, 63.25]
        for number, (_, picture) in enumerate(film):
            assert isinstance(picture, Path)
            assert open_image(picture).getpixel((5, 5)) == seen(number).image.getpixel((5, 5))
        assert not any(isinstance(one, do.AddImage) for one in sent)
        caption = "screen as video · 3 pictures, 0:00 to 1:03 → 180 image tokens"
        await stage.until(lambda: caption in stage.text)
        assert stage.app.chat.prompt.text == ""
        await stage.ask("what has changed?")
        turns = stage.app.workspace.conversation.history.turns
        assert turns[1].attachments == (video,)
        # what comes after the question is another video, and its times go on
        assert (await watched(stage, (3, 192.0))).frames[0][0] == 90.0
        await stage.until(lambda: "screen as video · 1 picture, 1:30 →" in stage.text)
        folder = stage.app.workspace.journal.folder
        page = write(stage.app.workspace.conversation.history, folder, "Watched", tmp_path / "out")
        assert "![screen 1:03](<Watched/video-3-3.png>)" in page.read_text()
        assert len(list((tmp_path / "out/Watched").iterdir())) == 3
    with Journal(folder) as journal:
        entries = [one for one in journal.entries() if isinstance(one, AttachmentAdded)]
    assert AttachmentAdded(video) in entries


@live
async def test_of_a_screen_that_is_watched_for_long_the_last_eight_pictures_wait(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, settings=VIDEO) as stage:
        await stage.press("f9")
        video = await watched(stage, *((number, number * 5.0) for number in range(10)))
        assert [seconds for seconds, _ in video.frames] == [5.0 * number for number in range(2, 10)]


@live
async def test_the_times_go_on_after_a_pause_and_begin_anew_in_another_conversation(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, settings=VIDEO) as stage:
        await stage.press("f9")
        await watched(stage, (0, 50.0), (1, 60.0))
        await stage.press("f9", "f9")
        video = await watched(stage, (2, 100.0))
        # off means gone: what was seen before is not shown any more
        assert [seconds for seconds, _ in video.frames] == [50.0]
        await stage.press("ctrl+n")
        video = await watched(stage, (3, 200.0), (4, 207.0))
        assert [seconds for seconds, _ in video.frames] == [0.0, 7.0]


@live
async def test_what_was_watched_in_one_conversation_is_neither_kept_there_nor_anothers_file(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        workspace, media = stage.app.workspace, stage.app.chat.media
        await stage.ask("hello")
        await stage.press("f9")
        seen_before = await watched(stage, (0, 1.0))
        old = workspace.journal.folder
        await stage.press("ctrl+n")
        await media.files([chart(tmp_path)])
        (own,) = workspace.conversation.history.waiting.values()
        await stage.press("f9")
        assert list(workspace.conversation.history.waiting) == [own.id]
        stage.app.do("resume", old.name)
        await stage.until(lambda: workspace.journal.folder == old)
        assert not workspace.conversation.history.waiting
        assert not (old / seen_before.file).exists()


@live
async def test_a_watched_screen_is_shown_in_a_new_conversation_though_it_did_not_change(
    tmp_path: Path,
) -> None:
    world = World(screen=seen(0))
    async with staged(tmp_path, settings="watch_seconds = 1.0\n", world=world) as stage:
        await stage.press("f9")
        await stage.until(lambda: stage.app.workspace.conversation.history.waiting)
        before = stage.app.workspace.journal
        await stage.press("ctrl+n")
        await stage.until(lambda: stage.app.workspace.journal is not before)
        await stage.until(lambda: stage.app.workspace.conversation.history.waiting)


@live
async def test_a_picture_that_waits_is_replaced_when_the_setting_changes(tmp_path: Path) -> None:
    async with staged(tmp_path, world=World()) as stage:
        await stage.press("f9")
        assert (await watched(stage, (0, 0.0), (1, 5.0))).kind == "image"
        stage.app.workspace.change(watch_as="video")
        video = await watched(stage, (2, 10.0), (3, 15.0))
        assert (video.kind, [seconds for seconds, _ in video.frames]) == ("video", [10.0, 15.0])


@pytest.mark.parametrize("settings", ["", VIDEO], ids=["image", "video"])
def test_after_a_kill_a_watched_screen_does_not_wait_and_what_was_attached_by_hand_does(
    tmp_path: Path, settings: str
) -> None:
    @live
    async def played() -> None:
        async with staged(tmp_path, settings=settings) as stage:
            conversation = stage.app.workspace.conversation
            await stage.app.chat.media.files([chart(tmp_path)])
            (own,) = conversation.history.waiting.values()
            await stage.press("f9")
            for number in (0, 1):
                await stage.app.chat.media.seen(seen(number), float(number))
            await stage.until(lambda: not conversation.pending)  # each has its tokens
            shown = conversation.history.waiting[conversation.watched]
            shutil.copytree(conversation.journal.folder, tmp_path / "killed")
            shutil.copytree(conversation.journal.folder, tmp_path / "older")
        with Journal(tmp_path / "killed") as journal:
            assert list(JournaledHistory(journal).history.waiting) == [own.id]
            assert (journal.folder / own.file).exists()
            assert not any((journal.folder / name).exists() for name in shown.files)
        events = tmp_path / "older" / EVENTS
        written = events.read_bytes()
        assert b',"watched":true}' in written
        events.write_bytes(written.replace(b',"watched":true}', b"}"))  # as it was before the mark
        with Journal(events.parent) as journal:
            assert list(JournaledHistory(journal).history.waiting) == [own.id, shown.id]

    played()


@live
async def test_a_picture_that_was_asked_about_and_taken_back_waits_after_a_kill(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("f9")
        picture = await watched(stage, (0, 0.0))
        await stage.ask("what is this?")
        await stage.press("f9", "ctrl+e")
        folder = stage.app.workspace.journal.folder
        shutil.copytree(folder, tmp_path / "killed")
    with Journal(tmp_path / "killed") as journal:
        assert list(JournaledHistory(journal).history.waiting) == [picture.id]


def test_an_attachment_that_was_written_without_frames_is_read() -> None:
    written = to_json(AttachmentAdded(Attachment(1, "image", 1, "a.png", "window", (64, 48))))
    del written["attachment"]["frames"]
    entry = from_json(written)
    assert isinstance(entry, AttachmentAdded) and entry.attachment.frames == ()


@live
async def test_what_changed_while_somebody_spoke_is_shown_afterwards(tmp_path: Path) -> None:
    world = World(screen=seen(0))
    async with staged(tmp_path, settings="watch_seconds = 1.0\n", world=world) as stage:
        conversation = stage.app.workspace.conversation
        await stage.press("f9")
        await stage.until(lambda: conversation.history.waiting)
        before = conversation.watched
        await stage.press("f4")
        await stage.until(lambda: recorded(stage, 0.04))
        await stage.app.chat.media.seen(seen(0), 5.0)
        assert conversation.watched == before
        await stage.press("escape")  # from here on nothing changes
        await stage.until(lambda: conversation.watched > before)
