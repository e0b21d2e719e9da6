"""What is saved comes back, whatever happened to the program or the files in between."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4.chat.messages import ImagePart, SoundPart, TextPart, ToolResult, Turn, VideoPart
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Event, ToolCall
from mlx_gemma4.media.images import patches
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import persistence, prefix_store
from mlx_gemma4.session.reply import DrawnReplies
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tiny_model
from tests.unit.small_tokenizer import media_config, small_tokenizer

NOISE = np.random.default_rng(1).integers(0, 256, (96, 144, 3)).astype(np.uint8)
VOICE = (np.random.default_rng(2).standard_normal((80, 640)) * 0.1).astype(np.float32)


@pytest.fixture
def session(model: Gemma4) -> Session:
    """One turn with everything, and another that is being made."""
    session = Session(model, "be brief", image_tokens=70, hearing="direct")
    session.add_image(NOISE)
    session.add_text("what <|turn> is\ud800it?")
    session.hear(VOICE[:20])
    replied(session)
    session.add_image(NOISE[::-1])
    session.hear(VOICE[20:40])
    session.hold(VOICE[40:50])
    return session


def replied(session: Session) -> list[Event]:
    return list(session.reply(20, temperature=0))


def indexed(folder: Path) -> dict[str, object]:
    return json.loads((folder / "session.json").read_text())["session"]


def assert_same_turns(one: Session, other: Session) -> None:
    assert len(one.turns) == len(other.turns)
    for left, right in zip(one.turns, other.turns, strict=True):
        assert (left.role, left.interrupted, left.ids) == (right.role, right.interrupted, right.ids)
        for a, b in zip(left.parts, right.parts, strict=True):
            assert type(a) is type(b)
            if isinstance(a, ImagePart) and isinstance(b, ImagePart):
                assert np.array_equal(a.picture.patches, b.picture.patches)
                assert np.array_equal(a.picture.positions, b.picture.positions)
                assert a.picture.positions.dtype == b.picture.positions.dtype
                assert (a.picture.size, a.picture.notes) == (b.picture.size, b.picture.notes)
            elif isinstance(a, SoundPart) and isinstance(b, SoundPart):
                assert np.array_equal(a.frames, b.frames)
            else:
                assert a == b


@pytest.mark.parametrize("cache", [True, False])
def test_a_restored_conversation_goes_on_as_the_other_one(
    model: Gemma4, session: Session, tmp_path: Path, cache: bool
) -> None:
    session.save(tmp_path / "talk", cache)
    again = Session.restore(model, tmp_path / "talk", "direct")
    assert_same_turns(session, again)
    assert again.context[0] == (session.context[0] if cache else 0)
    assert again.heard_seconds == session.heard_seconds == 30 * 0.04
    *answer, done = replied(again)
    *expected, _ = replied(session)
    assert answer == expected
    assert isinstance(done, Done)
    assert (done.stats["new_prompt_tokens"] < 20) is cache  # 10 frames were held


def test_the_cache_is_kept_only_where_it_fits(
    model: Gemma4, session: Session, tmp_path: Path
) -> None:
    session.save(tmp_path)
    assert Session.restore(model, tmp_path, kv_bits=8).context[0] == 0
    (rows,) = tmp_path.rglob("*.safetensors")
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    assert Session.restore(model, tmp_path).context[0] == 0
    assert not rows.exists()  # it is of no use to anybody
    again = Session.restore(model, tmp_path, "direct")
    assert again.context[0] == 0
    assert replied(again)[:-1] == replied(session)[:-1]


def test_a_quantized_cache_comes_back_too(model: Gemma4, tmp_path: Path) -> None:
    session = Session(model, kv_bits=8)
    session.add_text("hello " * 60)
    replied(session)
    session.save(tmp_path)
    assert Session.restore(model, tmp_path, kv_bits=8).context == session.context


def test_every_kind_of_part_comes_back(model: Gemma4, tmp_path: Path) -> None:
    session = Session(model)
    film = ((0.5, patches(NOISE, 70)), (1.25, patches(NOISE[::-1], 70)))
    spelled = tuple(Tokenizer.from_folder(model.folder).encode(letter)[0] for letter in "so")
    call = ToolCall("", "find", {"a": [1, 2.5, None, {"b": "ü"}], "c": True})
    turns = [
        Turn("user", (VideoPart(film), TextPart("look"))),
        Turn("model", (call,)),
        Turn("tool", (ToolResult("find", {"x": "y"}),)),
        Turn("model", (TextPart("so"),), interrupted=True, ids=spelled),
    ]
    session._conversation.turns = turns
    session.save(tmp_path, cache=False)
    again = Session.restore(model, tmp_path).turns
    video = again[0].parts[0]
    assert isinstance(video, VideoPart)
    for (at, picture), (expected_at, expected) in zip(video.frames, film, strict=True):
        assert at == expected_at
        assert np.array_equal(picture.patches, expected.patches)
    assert again[1:] == tuple(turns[1:])
    assert again[3].ids == spelled


def test_media_are_written_once_and_removed_when_nothing_needs_them(
    model: Gemma4, session: Session, tmp_path: Path
) -> None:
    mark = Session(model)
    session.save(tmp_path)
    first = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.np?")}
    session.add_text("more")
    replied(session)
    session.save(tmp_path)
    second = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.np?")}
    pictures = {image["file"] for image in _images(tmp_path)}
    assert len(pictures) == 2
    assert all(first[name] == second[name] for name in pictures)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    session.rewind(session.mark())
    mark.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["session.json"]


def test_pixels_take_a_byte_and_come_back_to_the_bit(
    model: Gemma4, session: Session, tmp_path: Path
) -> None:
    session.save(tmp_path, cache=False)
    (picture, *_) = (part for part in session.turns[1].parts if isinstance(part, ImagePart))
    assert picture.picture.patches.dtype == np.uint8
    (name, *_) = (one["file"] for one in _images(tmp_path))
    assert (tmp_path / name).stat().st_size < picture.picture.patches.nbytes * 1.1
    (again, *_) = (
        p for p in Session.restore(model, tmp_path).turns[1].parts if isinstance(p, ImagePart)
    )
    assert again.picture.patches.dtype == np.uint8
    assert again.picture.patches.tobytes() == picture.picture.patches.tobytes()


def _images(folder: Path) -> list[dict[str, str]]:
    turns = indexed(folder)["turns"]
    assert isinstance(turns, list)
    return [part["image"] for turn in turns for part in turn["parts"] if "image" in part]


def test_another_model_reads_the_conversation_again(
    model: Gemma4, session: Session, folder: Path, tmp_path: Path
) -> None:
    session.save(tmp_path)
    other = tiny_model(seed=1)
    other.folder = folder
    again = Session.restore(other, tmp_path, "direct")
    assert_same_turns(session, again)
    assert again.context[0] == 0 and again.unread == session.context[0]
    fresh = Session(other, turns=session.turns, image_tokens=70, hearing="direct")
    fresh.add_image(NOISE[::-1])
    fresh.hear(VOICE[20:40])
    fresh.hold(VOICE[40:50])
    assert replied(again)[:-1] == replied(fresh)[:-1]
    assert Session.restore(model, tmp_path, "direct").context[0] == session.context[0]


def test_a_fingerprint_is_the_models_own_and_not_of_the_way_it_was_loaded(model: Gemma4) -> None:
    assert prefix_store.fingerprint(model) == prefix_store.fingerprint(tiny_model())
    assert prefix_store.fingerprint(model) != prefix_store.fingerprint(tiny_model(seed=1))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_index_is_refused(
    model: Gemma4, session: Session, tmp_path: Path, share: float
) -> None:
    session.save(tmp_path, cache=False)
    index = tmp_path / "session.json"
    content = index.read_bytes()
    index.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(Gemma4Error, match="damaged"):
        Session.restore(model, tmp_path)


def test_garbled_files_are_refused_by_name(model: Gemma4, session: Session, tmp_path: Path) -> None:
    session.save(tmp_path, cache=False)
    index, (picture, *_) = tmp_path / "session.json", _images(tmp_path)
    good = index.read_text()
    index.write_text(good.replace("be brief", "be rude!"))
    with pytest.raises(Gemma4Error, match="checksum"):
        Session.restore(model, tmp_path)
    index.write_text(good.replace('"version": 3', '"version": 4'))
    with pytest.raises(Gemma4Error, match="version 4"):
        Session.restore(model, tmp_path)
    index.write_text("[]")
    with pytest.raises(Gemma4Error, match="damaged"):
        Session.restore(model, tmp_path)
    index.write_text(good)
    media = tmp_path / picture["file"]
    whole = media.read_bytes()
    media.write_bytes(whole[:-4])
    with pytest.raises(Gemma4Error, match="damaged"):
        Session.restore(model, tmp_path)
    np.savez(media, patches=np.zeros((6, 6912), np.uint8), positions=np.zeros((6, 2), np.int32))
    with pytest.raises(Gemma4Error, match="checksum"):
        Session.restore(model, tmp_path)
    media.unlink()
    with pytest.raises(Gemma4Error, match=media.name):
        Session.restore(model, tmp_path)


def test_a_folder_with_something_else_is_not_written_to(session: Session, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(Gemma4Error, match="letter.txt"):
        session.save(tmp_path)
    with pytest.raises(Gemma4Error, match="is a file"):
        session.save(tmp_path / "letter.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_that_the_finder_has_opened_is_written_to(
    session: Session, tmp_path: Path
) -> None:
    for name in (".DS_Store", "._x"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    session.save(tmp_path)
    session.save(tmp_path)
    assert {".DS_Store", "._x", "session.json"} < {path.name for path in tmp_path.iterdir()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".git").touch()
    with pytest.raises(Gemma4Error, match="holds something else: .git"):
        session.save(tmp_path / "other")


def test_what_a_killed_writer_left_is_removed_when_it_is_opened_but_not_beside_a_writer(
    model: Gemma4, session: Session, tmp_path: Path
) -> None:
    session.save(tmp_path)
    places = (tmp_path, tmp_path / "rows" / "rows")
    for place in places:
        (place / "new-1234.safetensors").write_text("half")
    with prefix_store.locked(tmp_path), prefix_store.locked(places[1]):
        for place in places:
            (place / "new-5678.safetensors").write_text("being written")
        Session.restore(model, tmp_path)
        assert all((place / "new-5678.safetensors").exists() for place in places)
    tmp_path.chmod(0o755)
    again = Session.restore(model, tmp_path)
    assert_same_turns(session, again)
    assert not list(tmp_path.rglob("new*"))
    assert tmp_path.stat().st_mode & 0o777 == 0o755  # it was only read


def test_there_must_be_a_saved_conversation(model: Gemma4, tmp_path: Path) -> None:
    with pytest.raises(Gemma4Error, match="no saved conversation"):
        Session.restore(model, tmp_path)


SAVER = """
import sys
import numpy as np
import mlx_gemma4
from mlx_gemma4.session.session import Session
session = Session(mlx_gemma4.load(sys.argv[1]))
voice = np.random.default_rng(2).standard_normal((9, 640)).astype(np.float32)
for number in range(1000):
    session.add_text(f"question {number}")
    session.hear(voice)
    list(session.reply(2, temperature=0))
    session.save(sys.argv[2], cache=number % 2 == 0)
    print(number, flush=True)
"""


def test_a_kill_during_a_save_loses_nothing_that_was_saved(
    model: Gemma4, folder: Path, tmp_path: Path
) -> None:
    root = Path(__file__).parents[2]
    rng = random.Random(5)
    for attempt in range(4):
        target = tmp_path / str(attempt)
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder), str(target)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        assert saver.stdout is not None
        last = -1
        for _ in range(3 + attempt):
            last = int(saver.stdout.readline())
        time.sleep(rng.uniform(0, 0.08))
        saver.send_signal(signal.SIGKILL)
        last = max([last, *map(int, saver.stdout.read().split())])
        saver.wait()
        again = Session.restore(model, target)
        questions = [turn.parts[0] for turn in again.turns if turn.role == "user"]
        assert questions[: last + 1] == [TextPart(f"question {n}") for n in range(last + 1)]
        assert len(questions) <= last + 2
        again.add_text("go on")
        assert isinstance(replied(again)[-1], Done)
        again.save(target)  # and what the killed one left behind is gone
        assert not list(target.rglob("new*"))


@pytest.mark.parametrize("stage", ["write", "_sync", "rows"])
def test_a_save_that_fails_half_way_leaves_the_one_before(
    model: Gemma4,
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    session.save(tmp_path)
    turns = session.turns
    session.add_text("more")
    replied(session)

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if stage == "rows":
        monkeypatch.setattr(prefix_store, "write", broken)
    else:
        monkeypatch.setattr(persistence, stage, broken)
    with pytest.raises(Gemma4Error, match="disk is full"):
        session.save(tmp_path)
    monkeypatch.undo()
    again = Session.restore(model, tmp_path)
    assert len(again.turns) == len(turns) + 2 * (stage == "rows")  # rows are parked last
    assert again.context[0] > 0


def test_a_tokenizer_that_reads_otherwise_makes_the_cache_useless(
    model: Gemma4, session: Session, tmp_path: Path, folder: Path
) -> None:
    session.save(tmp_path)
    tokenizer = Tokenizer.from_folder(folder)
    plain = tokenizer._encode
    tokenizer._encode = lambda text: (*plain(text), 70)  # type: ignore[assignment]
    assert Session.restore(model, tmp_path, tokenizer=tokenizer).context[0] == 0


def test_a_restored_conversation_has_the_context_that_is_asked_for(
    model: Gemma4, tmp_path: Path
) -> None:
    Session(model, context=40).save(tmp_path)
    assert Session.restore(model, tmp_path, context=50).context == (0, 50)
    assert Session.restore(model, tmp_path).context[1] > 50


def test_a_reply_that_was_cancelled_within_a_letter_keeps_its_ids() -> None:
    tokenizer = small_tokenizer()
    first = tokenizer.encode("☃")[0]  # of three bytes
    torn = Turn("model", (TextPart("\ufffd"),), True, (first, first))
    replies = DrawnReplies(tokenizer, media_config())
    assert replies.restored(torn).ids == (first, first)
    other = replace(torn, parts=(TextPart("no"),))
    assert DrawnReplies(tokenizer, media_config()).restored(other).ids == ()
