"""What was parked is found by its longest prefix; nothing in the folder can do harm."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import stat
from pathlib import Path

import numpy as np
import pytest

import mlx_gemma4
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.prefix_store import PrefixStore, locked
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tiny_model

NOISE = np.random.default_rng(1).integers(0, 256, (96, 144, 3)).astype(np.uint8)


def parked(model: Gemma4, store: PrefixStore, owner: str = "a", words: int = 60) -> Session:
    session = Session(model, image_tokens=70, store=store)
    session.add_image(np.roll(NOISE, ord(owner)))
    session.add_text(f"{owner} " * words)
    list(session.reply(4, temperature=0))
    while session.idle():
        pass
    assert session.park(owner)
    return session


def read_again(model: Gemma4, folder: Path, session: Session) -> int:
    """Tokens that another session with the same turns has to read."""
    return Session(model, turns=session.turns, image_tokens=70, store=PrefixStore(folder)).unread


def test_a_parked_conversation_is_not_read_again_and_goes_on_as_it_would_have(
    model: Gemma4, tmp_path: Path
) -> None:
    session = parked(model, PrefixStore(tmp_path))
    again = Session(model, turns=session.turns, image_tokens=70, store=PrefixStore(tmp_path))
    assert again.unread == 0
    assert again.context == session.context
    for one in (session, again):
        one.add_text("and now?")
    *expected, _ = session.reply(6, temperature=0)
    *events, done = again.reply(6, temperature=0)
    assert events == expected
    assert isinstance(done, Done) and done.stats["new_prompt_tokens"] < 30


def test_of_other_turns_the_common_beginning_is_not_read_again(
    model: Gemma4, tmp_path: Path
) -> None:
    session = parked(model, PrefixStore(tmp_path))
    other = Session(model, turns=session.turns[:1], image_tokens=70, store=PrefixStore(tmp_path))
    total = len(other._conversation.settled())
    assert other.unread < 10 < total


def test_parking_again_writes_nothing_and_parking_more_replaces_the_file(
    model: Gemma4, tmp_path: Path
) -> None:
    store = PrefixStore(tmp_path)
    session = parked(model, store)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*.*")}
    assert not session.park("a")
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*.*")} == before
    session.add_text("more")
    list(session.reply(4, temperature=0))
    assert session.park("a")
    after = set(tmp_path.rglob("*.*"))
    assert len(after) == 2 and not after & set(before)


def test_what_killed_writers_left_of_other_conversations_is_removed(
    model: Gemma4, tmp_path: Path
) -> None:
    store, busy = PrefixStore(tmp_path), tmp_path / "busy"
    parked(model, store, "b")
    (tensors,) = tmp_path.rglob("*.safetensors")
    half = [tensors.with_stem("new-1234"), tensors.with_stem(f"{'0' * 16}-{'0' * 48}")]
    mine = tensors.with_stem("mine")
    with locked(busy):
        for path in (*half, mine, busy / "new-1234.safetensors"):
            path.write_bytes(b"half")
        parked(model, store, "a")
    assert [path.exists() for path in (*half, mine, tensors)] == [False, False, True, True]
    assert [path.name for path in busy.iterdir()] == ["new-1234.safetensors"]  # being written


@pytest.mark.parametrize("folder_is_there", [False, True])
def test_files_can_be_read_by_their_user_only(
    model: Gemma4, tmp_path: Path, folder_is_there: bool
) -> None:
    rows = tmp_path / "rows"
    if folder_is_there:
        rows.mkdir(mode=0o755)
    parked(model, PrefixStore(rows))
    assert {stat.S_IMODE(path.stat().st_mode) for path in rows.rglob("*.*")} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (rows, rows / "a")} == {0o700}


def test_another_model_or_another_quantization_finds_nothing_and_removes_nothing(
    model: Gemma4, folder: Path, tmp_path: Path
) -> None:
    session = parked(model, PrefixStore(tmp_path))
    other = tiny_model(seed=1)
    other.folder = folder
    assert read_again(other, tmp_path, session) == session.context[0]
    eight = Session(
        model, turns=session.turns, image_tokens=70, kv_bits=8, store=PrefixStore(tmp_path)
    )
    assert eight.unread == session.context[0]
    assert read_again(model, tmp_path, session) == 0


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "flip":
        content[-2] ^= 4
    path.write_bytes({"empty": b"", "json": b"[[[]]]", "deep": b"[" * 100_000}.get(how, content))


@pytest.mark.parametrize("how", ["cut", "flip", "empty", "json", "deep"])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_damaged_file_is_ignored_and_removed(
    model: Gemma4, tmp_path: Path, suffix: str, how: str
) -> None:
    session = parked(model, PrefixStore(tmp_path))
    (path,) = tmp_path.rglob(f"*.{suffix}")
    damage(path, how)
    assert read_again(model, tmp_path, session) == session.context[0]
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("claimed", [0, float("inf")])
def test_a_wrong_claim_about_going_back_is_no_error(
    model: Gemma4, tmp_path: Path, claimed: float
) -> None:
    session = parked(model, PrefixStore(tmp_path), words=300)
    (path,) = tmp_path.rglob("*.json")
    index = json.loads(path.read_text())
    assert index["earliest"] > 100
    path.write_text(json.dumps({**index, "earliest": claimed}))
    short = Session(model, turns=session.turns[:1], image_tokens=70, store=PrefixStore(tmp_path))
    short.add_text("x")
    assert isinstance(list(short.reply(2, temperature=0))[-1], Done)


def test_strange_files_are_left_alone(model: Gemma4, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "letter.json").write_text("mine")
    (tmp_path / "picture.png").write_text("mine")
    session = parked(model, PrefixStore(tmp_path, max_bytes=10_000_000))
    assert read_again(model, tmp_path, session) == 0
    assert (tmp_path / "a" / "letter.json").read_text() == "mine"
    assert (tmp_path / "picture.png").exists()


def test_the_oldest_go_first_where_it_is_full_and_what_is_too_large_is_not_parked(
    model: Gemma4, tmp_path: Path
) -> None:
    unbounded = PrefixStore(tmp_path)
    sessions = [parked(model, unbounded, owner) for owner in "abc"]
    size = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    for number, owner in enumerate("bca"):  # a was used last
        for path in (tmp_path / owner).glob("*.json"):
            os.utime(path, (number, number))
    parked(model, PrefixStore(tmp_path, max_bytes=int(size * 2.5)), "d")
    left = {path.parent.name for path in tmp_path.rglob("*.json")}
    assert left == {"a", "d"}
    assert read_again(model, tmp_path, sessions[0]) == 0
    small = Session(model, store=PrefixStore(tmp_path, max_bytes=1000))
    small.add_text("hello")
    list(small.reply(2, temperature=0))
    assert not small.park("e")


def test_removing_an_owner_removes_what_was_parked_for_it_and_nothing_else(
    model: Gemma4, tmp_path: Path
) -> None:
    store = PrefixStore(tmp_path)
    odd = "../x/" + "y" * 300
    parked(model, store, "a")
    session = Session(model, store=store)
    session.add_text("hello")
    list(session.reply(2, temperature=0))
    assert session.park(odd)
    assert {path.parent.parent for path in tmp_path.rglob("*.json")} == {tmp_path}
    store.remove("a")
    assert len(list(tmp_path.rglob("*.json"))) == 1
    store.remove(odd)
    assert not list(tmp_path.rglob("*.json"))


def _writer(folder: str, target: str, number: int) -> None:
    session = Session(mlx_gemma4.load(folder), store=PrefixStore(target))
    for turn in range(6):
        session.add_text(f"writer {number} turn {turn}")
        list(session.reply(3, temperature=0))
        session.park("same")
        session.save(Path(target) / "saved")


def test_two_writers_on_one_folder_leave_it_whole(
    model: Gemma4, folder: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_writer, args=(str(folder), str(tmp_path), number))
        for number in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    again = Session.restore(model, tmp_path / "saved")
    assert again.context[0] > 0 and len(again.turns) == 12
    assert not list(tmp_path.rglob("new*"))
    (index,) = (tmp_path / "same").glob("*.json")
    assert index.with_suffix(".safetensors").is_file()


def test_a_disk_that_takes_no_more_is_an_error_with_its_reason_and_leaves_nothing(
    model: Gemma4, tmp_path: Path
) -> None:
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(Gemma4Error, match="File too large") as error:
            parked(model, PrefixStore(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, was)
    assert error.value.code == "folder_unwritable"
    assert not [*(tmp_path / "a").iterdir()]


def test_what_a_killed_writer_left_is_removed(model: Gemma4, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "new-1234.safetensors").write_text("half")
    parked(model, PrefixStore(tmp_path))
    assert not (tmp_path / "a" / "new-1234.safetensors").exists()
