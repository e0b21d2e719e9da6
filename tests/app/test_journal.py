import json
import math
import os
import signal
import subprocess
import sys
import threading
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.conversation import journal_file as module
from app.conversation import private_files
from app.conversation.entries import (
    Attachment,
    AttachmentAdded,
    AttachmentRemoved,
    Entry,
    ModelChosen,
    NoteAdded,
    QuestionSent,
    TextAdded,
    TurnEnded,
    TurnsRemoved,
    TurnStarted,
    from_json,
    to_json,
)
from app.conversation.history import History
from app.conversation.journal import Journal
from app.conversation.journal_file import EVENTS
from mlx_gemma4.errors import Gemma4Error

PICTURE = Attachment(1, "image", 1, "x.png", "window", (640, 480), budget=280, tokens=266)
EXAMPLES: list[Entry] = [
    TurnStarted(1, "user", 1.5),
    AttachmentAdded(PICTURE),
    AttachmentRemoved(1),
    QuestionSent(1, "why?\n\u2028ünï\x00"),
    TextAdded(2, "text", " be"),
    NoteAdded(2, "late"),
    TurnEnded(2, "done", "stop", {"reply_tokens": 3.0}),
    TurnEnded(2, "failed", error=("code", "a", "b", "c")),
    TurnsRemoved(2),
    ModelChosen("tiny"),
]


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_the_same_after_it_was_written_and_read(entry: Entry, tmp_path: Path) -> None:
    assert from_json(json.loads(json.dumps(to_json(entry)))) == entry
    with Journal(tmp_path) as journal:
        journal.append(entry)
    with Journal(tmp_path) as journal:
        assert list(journal.entries()) == [entry]


def test_whether_a_picture_shows_a_watched_screen_is_read_back_and_no_earlier_program_minds() -> (
    None
):
    written = to_json(AttachmentAdded(PICTURE, watched=True))
    read = from_json(json.loads(json.dumps(written)))
    assert isinstance(read, AttachmentAdded) and read.watched
    plain = to_json(AttachmentAdded(PICTURE))
    assert written == {**plain, "watched": True}  # beside what an earlier program reads
    read = from_json(plain)
    assert isinstance(read, AttachmentAdded) and not read.watched


def test_nothing_is_on_the_disk_before_something_is_written(tmp_path: Path) -> None:
    with Journal(tmp_path / "talk"):
        pass
    assert not (tmp_path / "talk").exists()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 700))
def test_a_file_cut_anywhere_gives_all_whole_lines_and_can_be_written_on(
    tmp_path_factory: pytest.TempPathFactory, missing: int
) -> None:
    folder = tmp_path_factory.mktemp("talk")
    with Journal(folder) as journal:
        for entry in EXAMPLES:
            journal.append(entry)
    content = (folder / EVENTS).read_bytes()
    head = content.index(b"\n") + 1
    cut = max(head, len(content) - missing)
    (folder / EVENTS).write_bytes(content[:cut])
    whole = content[head:cut].count(b"\n")
    with Journal(folder) as journal:
        assert list(journal.entries()) == EXAMPLES[:whole]
        assert journal.damaged == 0
        journal.append(EXAMPLES[0])
    with Journal(folder) as journal:
        assert list(journal.entries()) == [*EXAMPLES[:whole], EXAMPLES[0]]


def _attached(wrong: dict[str, object]) -> bytes:
    facts = to_json(AttachmentAdded(Attachment(1, "image", 1, "a.png", "a")))
    return json.dumps({**facts, "attachment": {**facts["attachment"], **wrong}}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"{}",
        b'{"is":"later"}',
        b'{"is":"said","turn":1,"piece":"sung","text":"la"}',
        b'{"is":"said","turn":1,"piece":"text","text":3}',
        b'{"is":"begun","turn":"one","role":"user","at":0}',
        b'{"is":"attached","attachment":{"id":1}}',
        b'{"is":"begun","turn":1,"role":"user","at":NaN}',
        b'{"is":"begun","turn":1,"role":"user","at":1e308}',
        b'{"is":"ended","turn":1,"outcome":"done","stats":{"reply_tokens":1e999}}',
        *(
            _attached(wrong)
            for wrong in (
                {"size": [5]},
                {"size": [0, 5]},
                {"size": [5, -1]},
                {"seconds": math.nan},
                {"budget": -1},
                {"tokens": 10**30},
                {"frames": [[math.inf, "a.png"]]},
            )
        ),
    ],
)
def test_a_damaged_line_is_left_out_and_counted(tmp_path: Path, line: bytes) -> None:
    with Journal(tmp_path) as journal:
        journal.append(EXAMPLES[0])
    with (tmp_path / EVENTS).open("ab") as file:
        file.write(line + b"\n")
    with Journal(tmp_path) as journal:
        journal.append(EXAMPLES[3])
    with Journal(tmp_path) as journal:
        assert list(journal.entries()) == [EXAMPLES[0], EXAMPLES[3]]
        assert journal.damaged == 1


KILLED = """
import sys
from pathlib import Path
from app.conversation.entries import TextAdded
from app.conversation.journal import Journal
journal = Journal(Path(sys.argv[1]))
number = 0
while True:
    journal.append(TextAdded(1, "text", f"{number} "))
    print(number, flush=True)
    number += 1
"""


def test_a_program_that_is_killed_loses_nothing_that_it_wrote(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    written = int(told[-1] if told[-1].endswith(b"\n") else told[-2])
    with Journal(tmp_path) as journal:
        texts = [entry.text for entry in journal.entries() if isinstance(entry, TextAdded)]
    said = "".join(texts).split()
    assert said[: written + 1] == [str(n) for n in range(written + 1)]
    assert len(said) <= written + 2


def test_two_programs_cannot_write_one_conversation(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(EXAMPLES[0])
        with pytest.raises(Gemma4Error, match="open elsewhere"):
            Journal(tmp_path)
    with Journal(tmp_path) as again:
        assert list(again.entries()) == [EXAMPLES[0]]


def test_a_file_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    content = b'{"version": 99, "at": 1}\n{"is": "odd"}\n'
    (tmp_path / EVENTS).write_bytes(content)
    with pytest.raises(Gemma4Error, match="later version"):
        Journal(tmp_path)
    assert (tmp_path / EVENTS).read_bytes() == content


def test_an_earlier_version_is_brought_up_to_date_step_by_step_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path) as journal:
        for entry in EXAMPLES[:4]:
            journal.append(entry)
    before = (tmp_path / EVENTS).read_bytes()

    def spell(lines: list[module.Line]) -> list[module.Line]:
        return [
            {**line, "text": line["text"].upper()} if "text" in line else line for line in lines
        ]

    def drop(lines: list[module.Line]) -> list[module.Line]:
        return [line for line in lines if line["is"] != "detached"]

    monkeypatch.setattr(module, "VERSION", 4)
    monkeypatch.setattr(module, "MIGRATIONS", {2: spell, 3: drop})
    expected = [EXAMPLES[0], EXAMPLES[1], QuestionSent(1, "WHY?\n\u2028ÜNÏ\x00")]
    with Journal(tmp_path) as journal:
        assert list(journal.entries()) == expected
        journal.append(EXAMPLES[4])
    with Journal(tmp_path) as journal:
        assert list(journal.entries()) == [*expected, EXAMPLES[4]]
    assert (tmp_path / "events-version-2.jsonl").read_bytes() == before
    head = json.loads((tmp_path / EVENTS).read_bytes().split(b"\n")[0])
    assert head == {**json.loads(before.split(b"\n")[0]), "version": 4}


def test_a_full_disk_leaves_whole_lines_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(file: int, content: bytes) -> int:
        if len(content) == 1:
            raise OSError(28, "No space left on device")
        return write(file, content[:7])

    with Journal(tmp_path) as journal:
        journal.append(EXAMPLES[0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(Gemma4Error, match="disk is full"):
                journal.append(EXAMPLES[3])
        journal.append(EXAMPLES[4])
    with Journal(tmp_path) as journal:
        assert list(journal.entries()) == [EXAMPLES[0], EXAMPLES[4]]


def test_media_are_named_by_their_content_and_stored_once(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        names = [journal.put(content, ".png") for content in (b"one", b"two", b"one")]
        assert names[0] == names[2] != names[1]
        assert (journal.folder / names[0]).read_bytes() == b"one"
        assert len(list(tmp_path.iterdir())) == 2


def test_a_recording_becomes_a_wav_file_of_the_same_sound(tmp_path: Path) -> None:
    tone = np.sin(np.arange(6400, dtype=np.float32) / 7).reshape(10, 640) * 0.5
    with Journal(tmp_path) as journal:
        journal.record(tone[:4])
        journal.record(tone[4:])
        assert journal.recorded_seconds == pytest.approx(0.4)
        ((name, seconds),) = journal.end_recording()
        assert (seconds, journal.recorded_seconds) == (pytest.approx(0.4), 0.0)
        assert journal.end_recording() == []
    with wave.open(str(tmp_path / name)) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
        read = np.frombuffer(file.readframes(6400), "<i2") / 32767
    assert np.abs(read - tone.reshape(-1)).max() < 1 / 32767


def test_a_recording_survives_a_crash_up_to_the_last_frames(tmp_path: Path) -> None:
    crashed = Journal(tmp_path)
    crashed.record(np.full((5, 640), 0.25, np.float32))
    with (tmp_path / "recording.raw").open("ab") as file:
        file.write(b"\x01")  # half a sample
    with Journal(tmp_path) as journal:
        assert [seconds for _, seconds in journal.end_recording()] == [pytest.approx(0.2)]


def test_the_disk_is_waited_for_at_the_end_of_a_turn_and_not_by_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: list[str] = []
    waited, may_go_on = threading.Event(), threading.Event()

    def stuck(file: int) -> None:
        callers.append(threading.current_thread().name)
        waited.set()
        may_go_on.wait(20)

    monkeypatch.setattr(os, "fsync", stuck)
    with Journal(tmp_path) as journal:
        for entry in (*EXAMPLES[:1], *EXAMPLES[4:6]):
            journal.append(entry)
        assert not callers
        journal.append(EXAMPLES[6])  # returns, though the disk never answers
        assert waited.wait(20)
        assert callers == ["journal"]
        may_go_on.set()


def test_many_thousands_of_entries_are_read_and_folded(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for turn in range(1, 1001, 2):
            journal.append(TurnStarted(turn, "user", 0.0))
            journal.append(AttachmentAdded(Attachment(turn, "image", turn, "a.png", "window")))
            journal.append(QuestionSent(turn, "why?"))
            journal.append(TurnStarted(turn + 1, "model", 0.0))
            for _ in range(36):
                journal.append(TextAdded(turn + 1, "text", " because"))
            journal.append(TurnEnded(turn + 1, "done", "stop"))
    with Journal(tmp_path) as journal:
        history = History(journal.entries())
    assert len(history.turns) == 1000
    assert history.turns[1000].text == " because" * 36
    assert history.turns[999].attachments[0].id == 999


def test_a_conversation_of_the_first_format_is_read_without_its_second_copy(
    tmp_path: Path,
) -> None:
    lines = [
        '{"version":1,"at":1.5}',
        '{"is":"begun","turn":1,"role":"user","at":0}',
        '{"is":"asked","turn":1,"text":"why?"}',
        '{"is":"begun","turn":2,"role":"model","at":0}',
        '{"is":"said","turn":2,"piece":"text","text":"It"}',
        '{"is":"said","turn":2,"piece":"text","text":" is."}',
        '{"is":"ended","turn":2,"outcome":"failed","reason":"","stats":{},"error":["a","b","c"]}',
        '{"is":"remembered","turn":2}',
    ]
    (tmp_path / EVENTS).write_text("\n".join(lines) + "\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/turns.json").write_text("{}")
    with Journal(tmp_path) as journal:
        history = History(journal.entries())
        assert journal.damaged == 0
    assert [turn.text for turn in history.turns.values()] == ["why?", "It is."]
    assert history.turns[2].error == ("", "a", "b", "c")
    assert not (tmp_path / "memory").exists()
    assert (tmp_path / "events-version-1.jsonl").read_text().splitlines() == lines


def test_what_is_being_stored_stays_when_the_first_entry_is_written_or_another_program_refused(
    tmp_path: Path,
) -> None:
    with Journal(tmp_path) as journal:
        ours, other = tmp_path / f"a.png{private_files.NEW}", tmp_path / "b.png.1.new"
        ours.write_bytes(b"half")
        journal.append(EXAMPLES[0])
        assert ours.exists()
        other.write_bytes(b"half")
        with pytest.raises(Gemma4Error, match="open elsewhere"):
            Journal(tmp_path)
        assert other.exists()
    Journal(tmp_path).close()
    assert not other.exists()  # by now nobody writes it


def test_a_conversation_of_the_first_format_is_opened_once_a_full_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / EVENTS).write_text('{"version":1,"at":1}\n')
    with monkeypatch.context() as patch:
        patch.setattr(private_files, "write", full)
        with pytest.raises(Gemma4Error, match="disk is full"):
            Journal(tmp_path)
    with Journal(tmp_path) as journal:
        journal.append(EXAMPLES[0])
