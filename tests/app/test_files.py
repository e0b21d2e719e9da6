import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.conversation.attachments import file, shot
from app.conversation.journal import Journal
from app.conversation.journal_file import EVENTS
from app.conversation.journaled import JournaledHistory
from app.devices.files import existing, kind, pasted
from app.devices.screen import Shot
from app.settings import DEFAULTS
from mlx_gemma4.errors import Gemma4Error

ROOT = Path(__file__).parents[2]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file as macOS names its screenshots, with a narrow space that is no ASCII."""
    path = tmp_path / "Screen Shot (1) 'a' at 10.00\u202fAM & \"b\".png"
    path.write_bytes(b"x")
    return path


def spellings(path: Path) -> dict[str, str]:
    escaped = "".join(f"\\{c}" if c in " ()'\"&" else c for c in str(path))
    return {
        "bare": str(path),
        "escaped": escaped,
        "quoted": shlex.quote(str(path)),
        "url": path.as_uri(),
        "with a space after it": f"{escaped} ",
        "with a line after it": f"{path}\n",
    }


@pytest.mark.parametrize("spelling", spellings(Path("/x")))
def test_a_dropped_file_is_found_however_the_terminal_spells_it(
    picture: Path, spelling: str
) -> None:
    assert pasted(spellings(picture)[spelling]) == [picture]


def test_several_dropped_files_are_found(picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.wav"
    other.write_bytes(b"x")
    for text in (
        f"{shlex.quote(str(picture))} {other}",
        f"{picture.as_uri()}\n{other.as_uri()}\n",
        f"{picture}\r\n{other}",
    ):
        assert pasted(text) == [picture, other]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "README.md",
        "/nowhere/at/all.png",
        "see /etc/hosts now",
        "/etc",
        "'",
        "~",
        "file://[x",
    ],
)
def test_other_text_is_not_taken_for_files(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert pasted(text) == []


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40) | st.text("/~\\'\" \n\x00file:%2[]@", max_size=20))
def test_no_text_breaks_it(text: str) -> None:
    for one in (text, f"file://{text}"):
        assert all(path.is_file() for path in pasted(one))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.PNG", b"", "image"),
        ("a.wav", b"", "sound"),
        ("a.mov", b"", "video"),
        ("a.py", b"print(1)", "text"),
        ("a", "grün".encode() * 2000, "text"),
        ("a.bin", b"\x00\x01", None),
        ("a.txt", "grün".encode("latin-1"), None),
        ("a.txt", b"a" * 4095 + "ü".encode(), "text"),
    ],
)
def test_a_files_kind_is_told(
    tmp_path: Path, name: str, content: bytes, expected: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind(tmp_path / name) == expected


def test_a_picture_of_the_screen_is_stored_with_the_tokens_that_it_wants(tmp_path: Path) -> None:
    image = Image.radial_gradient("L").resize((1920, 1080))
    with Journal(tmp_path) as journal:
        ready = shot(journal, Shot(image, "screen", "All of it."), DEFAULTS)
        assert (ready.kind, ready.size, ready.budget) == ("image", (1920, 1080), 1120)
        assert ready.note == "All of it."
        with Image.open(journal.folder / ready.file) as stored:
            assert stored.tobytes() == image.convert("RGB").tobytes()
        assert shot(journal, Shot(image, "clipboard"), DEFAULTS).budget == 280
        assert shot(journal, Shot(image, "screen"), DEFAULTS, (70, 140)).budget == 140


def test_files_are_measured_and_copied_but_videos_stay(tmp_path: Path) -> None:
    video = tmp_path / "film.mp4"
    video.write_bytes(b"x")
    with Journal(tmp_path / "talk") as journal:
        receipt = file(journal, ROOT / "assets/demo/receipt.png", DEFAULTS)
        sound = file(journal, ROOT / "assets/demo/digits.wav", DEFAULTS)
        text = file(journal, ROOT / "Makefile", DEFAULTS)
        film = file(journal, video, DEFAULTS)
        assert (receipt.kind, receipt.name, receipt.budget) == ("image", "receipt.png", 280)
        assert receipt.size is not None and min(receipt.size) > 100
        assert sound.kind == "sound" and 1 < sound.seconds < 10
        for ready in (receipt, sound, text):
            assert (journal.folder / ready.file).parent == tmp_path / "talk"
            assert (journal.folder / ready.file).is_file()
        assert (film.kind, (journal.folder / film.file)) == ("video", video)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("a.png", b"no picture"), ("a.wav", b"no sound"), ("a.bin", b"\0")),
        ("a.txt", b"a" * 1_100_000),
    ],
)
def test_what_cannot_be_attached_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with Journal(tmp_path / "talk") as journal, pytest.raises(Gemma4Error, match=name):
        file(journal, tmp_path / name, DEFAULTS)


def test_a_file_that_is_missing_shut_a_folder_or_a_pipe_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shut.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder").mkdir()
    open_any = Path.open

    def refused(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "shut.png":  # as it is for a user who may not read it
            raise PermissionError(13, "Permission denied", str(path))
        return open_any(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)
    with Journal(tmp_path / "talk") as journal:
        for name, words in (
            ("gone.png", "There is no file"),
            ("nu\0ll.txt", "There is no file"),
            ("shut.png", "Permission denied"),
            ("folder", "it is a folder"),
            ("pipe.txt", "no ordinary file"),
        ):
            with pytest.raises(Gemma4Error, match=words) as caught:
                file(journal, tmp_path / name, DEFAULTS)
            assert caught.value.title == f"{name} cannot be attached"


@pytest.mark.parametrize("blank", ["\u202f", "\u00a0", "\u2009"])
def test_a_screenshot_is_found_by_a_name_with_plain_blanks(tmp_path: Path, blank: str) -> None:
    folder = tmp_path / f"My{blank}Shots"
    folder.mkdir()
    shot = folder / f"Screenshot 2026-11-28 at 10.00.00{blank}AM.png"
    shot.write_bytes(b"x")
    plain = str(shot).replace(blank, " ")
    for spelling in (plain, plain.replace(" ", "\\ "), f"'{plain}'", Path(plain).as_uri()):
        assert pasted(spelling) == [shot]
    assert existing([plain]) == [shot]


def test_a_name_with_plain_blanks_that_fits_two_files_is_none_of_them(tmp_path: Path) -> None:
    for blank in ("\u202f", "\u00a0"):
        (tmp_path / f"at 10.00{blank}AM.png").write_bytes(b"x")
    assert pasted(str(tmp_path / "at 10.00 AM.png")) == []
    exact = tmp_path / "at 10.00 AM.png"
    exact.write_bytes(b"x")
    assert pasted(str(exact)) == [exact]


def test_a_name_with_its_accents_apart_is_found(tmp_path: Path) -> None:
    path = tmp_path / "Bildschirmfoto fu\u0308r dich.png"
    path.write_bytes(b"x")
    assert pasted(str(tmp_path / "Bildschirmfoto f\u00fcr dich.png")) == [path]


def ftyp(brand: bytes, *tracks: bytes) -> bytes:
    """The start of an ISO media file, with the handlers of its tracks."""
    hdlr = b"".join(b"\0\0\0\x20hdlr" + bytes(8) + track + bytes(12) for track in tracks)
    filler = b"\0\0\0\x10mdat" + bytes(8)
    moov = (8 + len(hdlr)).to_bytes(4, "big") + b"moov" + hdlr
    return b"\0\0\0\x10ftyp" + brand + bytes(4) + filler + moov


def ts(*streams: bytes) -> bytes:
    """The start of an MPEG transport stream: a table, and a packet of each stream."""
    packets = (b"", *(b"\0\0\x01" + stream for stream in streams))
    return b"".join(b"\x47" + packet.ljust(187, b"\xff") for packet in packets)


CONTENT = {
    "heic": (ftyp(b"heic"), "image"),
    "heic of several": (ftyp(b"mif1"), "image"),
    "avif": (ftyp(b"avif"), "image"),
    "m4a": (ftyp(b"M4A "), "sound"),
    "an mp4 with sound only": (ftyp(b"isom", b"soun"), "sound"),
    "a qta": (ftyp(b"qt  ", b"soun"), "sound"),
    "an mp4": (ftyp(b"isom", b"soun", b"vide"), "video"),
    "a mov": (ftyp(b"qt  ", b"vide"), "video"),
    "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "image"),
    "ico": (b"\0\0\x01\0\x01\0" + bytes(20), "image"),
    "ppm": (b"P6\n# made\n2 2\n255\n" + bytes(12), "image"),
    "aifc": (b"FORM\0\0\0\x20AIFCFVER", "sound"),
    "caf": (b"caff\0\x01\0\0desc", "sound"),
    "aac": (b"\xff\xf1\x50\x80" + bytes(20), "sound"),
    "mp3": (b"ID3\x04\0\0\0\0\0\0", "sound"),
    "ogv": (b"OggS\0\x02" + bytes(22) + b"\x80theora", "video"),
    "opus": (b"OggS\0\x02" + bytes(22) + b"OpusHead", "sound"),
    "webm with sound only": (b"\x1a\x45\xdf\xa3" + bytes(20) + b"\x83\x81\x02", "sound"),
    "a transport stream of sound": (ts(b"\xc0"), "sound"),
    "a transport stream": (ts(b"\xc0", b"\xe0"), "video"),
    "an flv of sound": (b"FLV\x01\x04\0\0\0\t", "sound"),
    "an flv": (b"FLV\x01\x05\0\0\0\t", "video"),
    "webm": (b"\x1a\x45\xdf\xa3" + bytes(20) + b"\x83\x81\x01\x83\x81\x02", "video"),
}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("called", ["file", "file.txt", "file.wav", "file.PNG", "file.mp4"])
def test_a_files_kind_is_found_by_its_content(tmp_path: Path, name: str, called: str) -> None:
    content, expected = CONTENT[name]
    (tmp_path / called).write_bytes(content)
    assert kind(tmp_path / called) == expected


@pytest.mark.parametrize("size", [2**62, 2**63, 2**64 - 1])
def test_a_box_that_ends_beyond_any_file_is_no_error(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"\0\0\0\1ftyp" + size.to_bytes(8, "big") + bytes(100))
    assert kind(tmp_path / "a") == "video"


@pytest.mark.parametrize(
    "text",
    [
        "The free lunch",
        "You skip it",
        "G".ljust(188) + "Good",
        "BM is a car",
        "P1 is the goal",
        "GIF",
        "RIFF WAVE",
        "FORM AIFF",
        "ID3 tags",
        "fLaC",
    ],
)
def test_text_that_begins_like_a_picture_or_a_sound_is_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    assert kind(tmp_path / "a") == "text"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_text_of_another_encoding_is_no_sound(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("a question".encode(encoding))
    assert kind(tmp_path / "a.txt") is None


@pytest.mark.skipif(sys.platform == "darwin", reason="its names of files are UTF-8")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a.p\xe9g", b"\xe9.mp4"])
def test_a_file_whose_name_is_no_utf8_stays_in_the_conversation(
    tmp_path: Path, name: bytes
) -> None:
    path = tmp_path / os.fsdecode(name)
    content = b"x" if name.endswith(b"mp4") else (ROOT / "assets/demo/receipt.png").read_bytes()
    path.write_bytes(content)
    with Journal(tmp_path / "talk") as journal:
        held = JournaledHistory(journal)
        made = held.attach(file(journal, path, DEFAULTS))
        assert not held.problems
        made.name.encode()
    with Journal(tmp_path / "talk") as journal:
        assert list(JournaledHistory(journal).history.waiting.values()) == [made]
        assert (journal.folder / made.file).read_bytes() == content
    (tmp_path / "talk" / EVENTS).read_text("utf-8")  # every reader can
