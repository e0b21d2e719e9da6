"""Conversations of the terminal program as lines to learn: only what was kept and finished."""

import json
from pathlib import Path

import pytest
from PIL import Image

from app.conversation.entries import (
    Attachment,
    AttachmentAdded,
    Entry,
    QuestionSent,
    TextAdded,
    TurnEnded,
    TurnsRemoved,
    TurnStarted,
)
from app.conversation.journal import Journal
from mlx_gemma4.cli import main
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import conversations
from mlx_gemma4.tune import journal


def question(turn: int, text: str) -> list[Entry]:
    return [TurnStarted(turn, "user", 0.0), QuestionSent(turn, text)]


def answer(turn: int, text: str, outcome: str = "done", reason: str = "stop") -> list[Entry]:
    started = TurnStarted(turn, "model", 0.0)
    thought = TextAdded(turn, "thought", "hm")
    pieces = [TextAdded(turn, "text", piece) for piece in text.split("|")]
    return [started, thought, *pieces, TurnEnded(turn, outcome, reason)]  # type: ignore[arg-type]


def written(place: Path, name: str, *entries: Entry) -> Journal:
    kept = Journal(place / name)
    for entry in entries:
        kept.append(entry)
    return kept


def said(place: Path) -> list[list[tuple[str, object]]]:
    lines, _ = journal.lines(place)
    return [
        [(message["role"], message["content"]) for message in line.content["messages"]]
        for line in lines
    ]


def text(words: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": words}]


def test_finished_answers_are_learned_without_thoughts(tmp_path: Path) -> None:
    entries = [*question(1, "one"), *answer(2, "first| answer"), *question(3, "two")]
    written(tmp_path, "a", *entries, *answer(4, "second")).close()
    assert said(tmp_path) == [
        [
            ("user", text("one")),
            ("assistant", "first answer"),
            ("user", text("two")),
            ("assistant", "second"),
        ]
    ]


def test_what_was_taken_back_is_not_learned(tmp_path: Path) -> None:
    entries = [*question(1, "one"), *answer(2, "wrong"), TurnsRemoved(2), *answer(3, "right")]
    written(tmp_path, "a", *entries).close()
    assert said(tmp_path) == [[("user", text("one")), ("assistant", "right")]]


@pytest.mark.parametrize(
    ("outcome", "reason"), [("interrupted", "cancelled"), ("failed", ""), ("done", "length")]
)
def test_an_answer_that_has_no_end_ends_the_line(tmp_path: Path, outcome: str, reason: str) -> None:
    whole = [*question(1, "one"), *answer(2, "yes")]
    cut = [*question(3, "two"), *answer(4, "no", outcome, reason)]
    written(tmp_path, "a", *whole, *cut, *question(5, "three"), *answer(6, "late")).close()
    written(tmp_path, "b", *question(1, "one"), *answer(2, "no", outcome, reason)).close()
    assert said(tmp_path) == [[("user", text("one")), ("assistant", "yes")]]
    assert journal.lines(tmp_path)[1] == 1


def test_pictures_are_found_and_a_lost_one_ends_the_line(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "a")
    Image.new("RGB", (96, 96), "red").save(tmp_path / "red.png")
    name = kept.put((tmp_path / "red.png").read_bytes(), ".png")
    picture = Attachment(1, "image", 1, name, "red.png", (96, 96))
    changed = Attachment(1, "image", 1, name, "red.png", (96, 96), tokens=4)
    entries: list[Entry] = [
        TurnStarted(1, "user", 0.0),
        AttachmentAdded(picture),
        QuestionSent(1, "which colour"),
        AttachmentAdded(changed),  # its tokens are known now: it is not sent a second time
        *answer(2, "red"),
        *question(3, "sure?"),
        *answer(4, "yes"),
    ]
    for entry in entries:
        kept.append(entry)
    kept.close()
    (conversation,) = said(tmp_path)
    assert conversation[0] == ("user", [{"type": "image", "path": name}, *text("which colour")])
    assert conversation[2] == ("user", text("sure?"))
    kept.drop(name)
    with pytest.raises(Gemma4Error, match="1 conversation, none of them"):
        journal.lines(tmp_path)


def test_a_question_that_is_edited_keeps_its_picture(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "a")
    name = kept.put(b"a picture", ".png")
    attached = AttachmentAdded(Attachment(1, "image", 1, name, "red.png", (96, 96)))
    first = [attached, *question(1, "which coluor"), *answer(2, "?"), TurnsRemoved(1)]
    for entry in [*first, attached, *question(3, "which colour"), *answer(4, "red")]:
        kept.append(entry)
    kept.close()
    asked = [{"type": "image", "path": name}, *text("which colour")]
    assert said(tmp_path) == [[("user", asked), ("assistant", "red")]]


def test_the_words_stand_for_a_sound_that_the_model_did_not_have(tmp_path: Path) -> None:
    sound = Attachment(1, "sound", 1, "gone.wav", "recording", seconds=1.0)
    entries: list[Entry] = [
        TurnStarted(1, "user", 0.0),
        AttachmentAdded(sound),
        QuestionSent(1, ""),
        TextAdded(1, "heard", "what time is it", relayed=True),
        *answer(2, "noon"),
    ]
    written(tmp_path, "a", *entries).close()
    assert said(tmp_path) == [[("user", text("what time is it")), ("assistant", "noon")]]


@pytest.mark.parametrize("identity", [[], {"a": 1}])
def test_a_damaged_id_of_an_attachment_hides_no_conversation(
    tmp_path: Path, identity: object
) -> None:
    kept = written(tmp_path, "a", *question(1, "one"), *answer(2, "yes"))
    kept.close()
    with (kept.folder / conversations.EVENTS).open("a") as file:
        file.write(json.dumps({"is": "detached", "attachment": identity}) + "\n")
    assert said(tmp_path) == [[("user", text("one")), ("assistant", "yes")]]


def test_tune_learns_from_the_programs_own_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = conversations.folder()
    command = ["tune", "--journal", "--model", str(folder), "--dry-run"]
    assert main(command) == 2
    assert "none of them with a finished answer" in capsys.readouterr().err
    written(place, "a", *question(1, "one"), *answer(2, "yes")).close()
    written(place, "b", *question(1, "one")).close()
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "data: 1 conversation, " in told
    assert "no finished answer to learn: 1 conversation." in told


def test_a_conversation_that_cannot_be_learned_is_left_out_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = conversations.folder()
    command = ["tune", "--journal", "--model", str(folder), "--dry-run", "--longest", "40"]
    written(place, "a", *question(1, "one " * 40), *answer(2, "yes")).close()
    assert main(command) == 2
    assert "conversation a: It has" in capsys.readouterr().err
    written(place, "b", *question(1, "one"), *answer(2, "yes")).close()
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "data: 1 conversation, " in told and "left out: conversation a: It has" in told


def test_a_run_without_data_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--model", str(folder)]) == 2
    assert "nothing to learn" in capsys.readouterr().err
