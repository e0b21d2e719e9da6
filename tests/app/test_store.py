import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.conversation import private_files
from app.conversation.entries import (
    Attachment,
    AttachmentAdded,
    AttachmentRemoved,
    ModelChosen,
    QuestionSent,
    TextAdded,
    TurnEnded,
    TurnStarted,
)
from app.conversation.export import write
from app.conversation.history import History
from app.conversation.journaled import JournaledHistory
from app.conversation.store import ConversationStore, title_of
from mlx_gemma4.errors import Gemma4Error


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    return ConversationStore(tmp_path / "conversations")


def asked(store: ConversationStore, text: str, at: int = 0) -> str:
    """Hold a conversation of one question."""
    with store.new() as journal:
        journal.append(TurnStarted(1, "user", 0.0))
        journal.append(QuestionSent(1, text))
    if at:
        os.utime(journal.folder / "events.jsonl", (at, at))
    return journal.folder.name


def test_without_conversations_the_list_is_empty(store: ConversationStore) -> None:
    assert store.list() == []


def test_conversations_are_listed_by_their_first_question_the_newest_first(
    store: ConversationStore,
) -> None:
    old = asked(store, "what is\n  this?", 1000)
    new = asked(store, "a " + "very " * 30 + "long question", 2000)
    first, second = store.list()
    assert (first.id, second.id) == (new, old)
    assert second.title == "what is this?" and second.updated == 1000
    assert first.title.endswith("…") and len(first.title) <= 60


def test_a_spoken_question_gives_its_title_by_what_was_heard(store: ConversationStore) -> None:
    with store.new() as journal:
        journal.append(TurnStarted(1, "user", 0.0))
        journal.append(QuestionSent(1, ""))
        journal.append(TurnStarted(2, "model", 0.0))
        journal.append(TextAdded(1, "heard", "what is the total?"))
    assert store.list()[0].title == "what is the total?"


def test_a_program_that_was_killed_leaves_nothing_of_what_was_deleted(
    store: ConversationStore,
) -> None:
    kept, deleted = asked(store, "why?"), asked(store, "what?")
    with store.open(kept) as journal:
        shown = journal.put(b"a picture", ".png")
    with store.open(deleted) as journal:
        assert journal.put(b"a picture", ".png") == shown
    store.delete(deleted)  # and killed; of another one only a picture was written
    started = store.new()
    started.put(b"a screenshot", ".png")
    (store.folder / "notes").mkdir()  # somebody's own
    store.clean()
    assert {path.name for path in store.folder.iterdir()} == {kept, "notes"}
    assert (store.folder / kept / shown).read_bytes() == b"a picture"


def test_media_that_nothing_shows_go_when_a_conversation_is_opened_again(
    store: ConversationStore,
) -> None:
    with store.new() as journal:
        files = [journal.put(name, ".png") for name in (b"sent", b"waits", b"taken back")]
        unnamed = journal.put(b"written, and killed", "")
        for number, file in enumerate(files, 1):
            journal.append(AttachmentAdded(Attachment(number, "image", number, file, "a")))
            if number == 1:
                journal.append(TurnStarted(1, "user", 0.0))
                journal.append(QuestionSent(1, "why?"))
        journal.append(AttachmentRemoved(3))  # killed before its file was deleted
    folder = journal.folder
    with store.open(folder.name) as journal:
        JournaledHistory(journal)
        assert {file for file in files if (folder / file).exists()} == set(files[:2])
        assert not (folder / unnamed).exists()


def test_media_of_a_damaged_conversation_stay(store: ConversationStore) -> None:
    name = asked(store, "why?")
    with store.open(name) as journal:
        picture = journal.put(b"perhaps named by the damaged line", ".png")
    with (store.folder / name / "events.jsonl").open("a") as file:
        file.write("{]\n")
    with store.open(name) as journal:
        JournaledHistory(journal)
    assert (store.folder / name / picture).is_file()


def test_a_title_that_the_user_gave_stays_until_it_is_taken_away(store: ConversationStore) -> None:
    name = asked(store, "why?")
    store.rename(name, "  Receipts\nof May ")
    assert store.list()[0].title == "Receipts of May"
    store.rename(name, " ")
    assert title_of(store.folder / name) == "why?"


def test_a_deleted_conversation_lies_in_the_trash_and_comes_back(store: ConversationStore) -> None:
    name = asked(store, "why?")
    place = store.delete(name)
    assert store.list() == [] and (place / "events.jsonl").is_file()
    store.restore(name)
    assert [one.id for one in store.list()] == [name]


def test_a_conversation_that_another_program_has_open_is_not_deleted(
    store: ConversationStore,
) -> None:
    name = asked(store, "why?")
    (store.parked / name).mkdir(parents=True)
    with store.open(name) as journal:
        with pytest.raises(Gemma4Error, match="open elsewhere"):
            store.delete(name)
        journal.append(TextAdded(1, "text", "It goes on."))
    assert [one.id for one in store.list()] == [name] and (store.parked / name).is_dir()


def test_a_file_is_on_the_disk_before_it_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "a", []
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    private_files.write(path, b"after", sync=True)
    assert synced == [b"before"] and path.read_bytes() == b"after"


def test_opening_what_is_not_there_is_told(store: ConversationStore) -> None:
    with pytest.raises(Gemma4Error, match="no such conversation"):
        store.open("nothing")


def test_a_conversation_without_a_readable_line_is_listed_all_the_same(
    store: ConversationStore,
) -> None:
    name = asked(store, "why?")
    (store.folder / name / "events.jsonl").write_bytes(b"\xff\n\n[]\n")
    assert [one.title for one in store.list()] == ["Untitled"]


@pytest.fixture
def history() -> History:
    picture = Attachment(1, "image", 1, "p.png", "window", (64, 48))
    sound = Attachment(2, "sound", 1, "s.wav", "recording", seconds=4.2)
    gone = Attachment(3, "video", 1, "gone.mp4", "gone.mp4")
    return History(
        [
            ModelChosen("tiny"),
            TurnStarted(1, "user", 0.0),
            AttachmentAdded(picture),
            AttachmentAdded(sound),
            AttachmentAdded(gone),
            QuestionSent(1, "why is the bar red?"),
            TurnStarted(2, "model", 0.0),
            TextAdded(1, "heard", "look at this"),
            TextAdded(2, "thought", "Bars.\nRed."),
            TextAdded(2, "text", "It is **below** 700."),
            TurnEnded(
                2, "interrupted", "cancelled", {"reply_tokens": 5.0, "tokens_per_second": 9.96}
            ),
        ]
    )


def test_a_conversation_is_exported_with_its_pictures_and_sounds(
    tmp_path: Path, history: History
) -> None:
    (tmp_path / "p.png").write_bytes(b"picture")
    (tmp_path / "s.wav").write_bytes(b"sound")
    page = write(history, tmp_path, "Bars: red/blue?", tmp_path / "out")
    assert page.name == "Bars redblue.md"
    text = page.read_text()
    assert text.startswith("# Bars: red/blue?\n\nAnswers by tiny.\n\n## You, ")
    for part in (
        "![Image #1: window](<Bars redblue/image-1.png>)",
        "[Audio 0:04: recording](<Bars redblue/sound-1.wav>)",
        "[gone.mp4] (its file is not there any more)",
        "> Heard: look at this",
        "> Bars.\n> Red.",
        "It is **below** 700.",
        "*5 tokens · 10.0 tok/s · stopped*",
    ):
        assert part in text
    beside = tmp_path / "out/Bars redblue"
    assert (beside / "image-1.png").read_bytes() == b"picture"
    assert (beside / "sound-1.wav").read_bytes() == b"sound"


def test_a_conversation_may_go_on_while_it_is_exported(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def asked_meanwhile(*paths: Path) -> None:
        copy(*paths)
        history.apply(TurnStarted(3, "user", 0.0))

    (tmp_path / "p.png").write_bytes(b"picture")
    monkeypatch.setattr(shutil, "copyfile", asked_meanwhile)
    page = write(history, tmp_path, "Bars", tmp_path / "out").read_text()
    assert page.count("## ") == 2 and 3 in history.turns


def test_an_export_never_overwrites_another(tmp_path: Path, history: History) -> None:
    pages = {write(history, tmp_path, "Bars", tmp_path / "out").name for _ in range(3)}
    assert pages == {"Bars.md", "Bars 2.md", "Bars 3.md"}


def test_a_damaged_conversation_is_listed_as_such_and_the_others_stay(
    store: ConversationStore,
) -> None:
    good, damaged = asked(store, "why?", 2000), asked(store, "what?", 1000)
    with (store.folder / damaged / "events.jsonl").open("ab") as file:
        file.write(b"\x00\x01\n[]\n")
    os.utime(store.folder / damaged / "events.jsonl", (1000, 1000))
    first, second = store.list()
    assert (first.id, first.damage) == (good, "")
    assert (second.title, second.damage) == ("what?", "2 lines cannot be read")
    with store.open(damaged) as journal:
        assert len(list(journal.entries())) == 2 and journal.damaged == 2


@pytest.mark.parametrize(
    "head",
    ['{"version":"1","at":1}', '{"version":null,"at":"x"}', '{"version":-3}', '{"version":99}'],
)
def test_a_conversation_of_a_version_that_is_none_does_not_stop_the_list(
    store: ConversationStore, head: str
) -> None:
    good = asked(store, "why?")
    folder = store.folder / "odd"
    folder.mkdir()
    (folder / "events.jsonl").write_text(f"{head}\n")
    damage = {one.id: one.damage for one in store.list()}
    assert damage[good] == "" and "format" in damage["odd"]
    with pytest.raises(Gemma4Error, match="cannot be opened"):
        store.open("odd")


@pytest.mark.parametrize("broken", ["folder", "loop", "file"])
def test_what_cannot_be_read_does_not_stop_the_list(
    store: ConversationStore, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = asked(store, "why?")
    events = store.folder / "odd/events.jsonl"
    if broken == "loop":  # a link to itself
        events.parent.mkdir()
        events.symlink_to(events)
    elif broken == "folder":
        (events / "below").mkdir(parents=True)
    else:  # somebody else's: not even its time is seen
        events.parent.mkdir()
        events.write_text('{"version":2,"at":1}\n')
        read = Path.read_bytes

        def refused(path: Path) -> bytes:
            if path == events:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", refused)
        with pytest.raises(Gemma4Error, match="Permission denied") as caught:
            store.open("odd")
        assert caught.value.code == "conversation_unreadable"
        assert {one.id: one.damage for one in store.list()}["odd"] == "Permission denied."
    assert good in [one.id for one in store.list()]


def modes(folder: Path) -> set[str]:
    return {
        f"{'d' if path.is_dir() else '-'}{path.stat().st_mode & 0o777:o}"
        for path in (folder, *folder.rglob("*"))
    }


def test_everything_that_was_said_or_shown_is_the_users_alone(store: ConversationStore) -> None:
    with store.new() as journal:
        journal.append(TurnStarted(1, "user", 0.0))
        journal.put(b"picture", ".png")
        journal.record(np.zeros((5, 640), np.float32))
    store.rename(journal.folder.name, "Cats")
    assert modes(store.folder) == {"d700", "-600"}
    (journal.folder / "recording.raw").chmod(0o644)  # as an earlier version left it
    store.folder.chmod(0o755)
    with store.open(journal.folder.name):
        store.list()
        assert modes(store.folder) == {"d700", "-600"}


def test_deleting_a_conversation_deletes_its_parked_rows_and_at_last_all_of_it(
    store: ConversationStore,
) -> None:
    name, other = asked(store, "why?"), asked(store, "what?")
    for one in (name, other):
        (store.parked / one).mkdir(parents=True)
        (store.parked / one / "rows.safetensors").write_bytes(b"rows")
    place = store.delete(name)
    assert [path.name for path in store.parked.iterdir()] == [other]
    (store.parked / name).mkdir()  # parked late, by the worker
    (store.parked / name / "rows.safetensors").write_bytes(b"rows")
    store.empty_trash()
    assert [path.name for path in store.parked.iterdir()] == [other]
    assert not place.exists() and [one.id for one in store.list()] == [other]
