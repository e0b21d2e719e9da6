"""What a file holds, by its content: a picture, a sound or a video, and in which format.

Suffixes are not looked at: files are renamed, and a program that trusts a name can be made to run
another reader than the user thinks of.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from .sound_window import read_at

Kind = Literal["image", "sound", "video"]

_HEAD = 64 * 1024
_TRACKS = 32 * 2**20  # of the box that lists an mp4's tracks


@dataclass(frozen=True)
class Format:
    """What a file is, and the usual name of its format, as "HEIC"."""

    kind: Kind
    name: str


# The first that fits counts; each pattern is matched at the start of the file.
_SIGNATURES: tuple[tuple[bytes, Kind, str], ...] = (
    (rb"\x89PNG\r\n\x1a\n", "image", "PNG"),
    (rb"\xff\xd8\xff", "image", "JPEG"),
    (rb"GIF8[79]a", "image", "GIF"),
    (rb"RIFF....WEBP", "image", "WebP"),
    (rb"BM........[\x0c-\x7c]\0\0\0", "image", "BMP"),
    (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", "image", "TIFF"),
    (rb"\0\0\x01\0[^\0]\0", "image", "ICO"),
    (rb"icns\0", "image", "ICNS"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "image", "JPEG 2000"),
    (rb"P[1-6]\s+(#[^\n]*\s+)*\d+\s+\d+\s", "image", "PPM"),
    (rb"qoif....", "image", "QOI"),
    (rb"8BPS\0\x01", "image", "PSD"),
    (rb"(RIFF|RF64|RIFX)....WAVE", "sound", "WAV"),
    (rb"fLaC[\0\x80]", "sound", "FLAC"),
    (rb"FORM....AIF[FC]", "sound", "AIFF"),
    (rb"caff\0\x01", "sound", "CAF"),
    (rb"\.snd\0\0", "sound", "AU"),
    (rb"riff\x2e\x91\xcf\x11", "sound", "W64"),
    (rb"#!AMR", "sound", "AMR"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "sound", "AAC"),
    # not \xff\xfe, with which text in UTF-16 starts
    (rb"ID3[\x02-\x04]|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd\xff]", "sound", "MP3"),
    (rb"RIFF....AVI ", "video", "AVI"),
    (rb"\0\0\x01[\xba\xb3]", "video", "MPEG"),
    # packets of video start with \xe0 to \xef, those of sound with \xbd to \xdf
    (rb"\x47.{187}\x47(?!.*\0\0\x01[\xe0-\xef]).*\0\0\x01[\xbd-\xdf]", "sound", "MPEG-TS"),
    (rb"\x47.{187}\x47.*[\0\xff]", "video", "MPEG-TS"),  # bytes that no text has
    (rb"FLV\x01\x04", "sound", "FLV"),
    (rb"FLV\x01", "video", "FLV"),
)
# ISO media (mp4, mov, heic): by the major brand, before the tracks are looked at
_BRANDS: tuple[tuple[bytes, Kind, str], ...] = (
    (rb"avi[fs]", "image", "AVIF"),
    (rb"hei[cxms]|hev[cxms]|mif1|msf1", "image", "HEIC"),
    (rb"M4[ABP] |F4[AB] ", "sound", "M4A"),
)
# the size of the first box, which is small but for mdat, and is no letter; then its name
_BOX = re.compile(rb"[\0-\x1f].{3}(?:ftyp|moov|wide|free|skip)|.{4}mdat", re.DOTALL)
_TRACK = re.compile(rb"hdlr.{8}(vide|soun)", re.DOTALL)
_ASF = bytes.fromhex("3026b2758e66cf11")
_VIDEO_IN_ASF = bytes.fromhex("c0ef19bc4d5bcf11")


def look(path: Path) -> Format | None:
    """Find what a file holds; None where it is neither a picture, a sound nor a video.

    Raises OSError where it cannot be read.
    """
    with path.open("rb") as file:
        return look_at(file)


def look_at(file: BinaryIO) -> Format | None:
    """Find what an open file holds, as `look`; it is left at its start."""
    file.seek(0)
    head = file.read(_HEAD)
    known = (Format(kind, name) for p, kind, name in _SIGNATURES if re.match(p, head, re.DOTALL))
    found = next(known, None) or _container(head, file)
    file.seek(0)
    return found


def _container(head: bytes, file: BinaryIO) -> Format | None:
    """Find what a file of many kinds of tracks holds."""
    if _BOX.match(head):
        brand = head[8:12] if head[4:8] == b"ftyp" else b""
        for pattern, kind, name in _BRANDS:
            if re.match(pattern, brand):
                return Format(kind, name)
        tracks = set(_TRACK.findall(_moov(file)))
        return Format("sound", "M4A") if tracks == {b"soun"} else Format("video", "MP4")
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # Matroska: TrackType 1 is video, 2 is sound
        sound_only = b"\x83\x81\x02" in head and b"\x83\x81\x01" not in head
        return Format("sound", "WebM") if sound_only else Format("video", "Matroska")
    if head.startswith(b"OggS\0"):
        video = b"\x80theora" in head or b"BBCD\0" in head
        return Format("video", "OGV") if video else Format("sound", "OGG")
    if head.startswith(_ASF):
        return Format("video", "WMV") if _VIDEO_IN_ASF in head else Format("sound", "WMA")
    return None


def _moov(file: BinaryIO) -> bytes:
    """Read the box of an ISO media file that lists its tracks, wherever it is."""
    at = 0
    for _ in range(1_000):
        head = read_at(file, at, 16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:  # the size follows in 8 bytes
            size = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov":
            return read_at(file, at, min(size or _TRACKS, _TRACKS))
        if size < 8 or len(head) < 8:
            break
        at += size
    return b""
