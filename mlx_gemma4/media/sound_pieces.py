"""A sound file as the pieces that one reader takes for a whole file each, with true sizes.

libsndfile reads the first of several files that were joined, as by `cat`. Each function that cuts a
format returns where its last piece ends: another format may follow it there.
"""

import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import BinaryIO

from . import mpeg
from .sound_chunks import ENDED, Cut, ended, kind_at
from .sound_window import DAMAGED, SoundPiece, Window, read_at

SPARE = 4096  # bytes after the end that are not accounted for: tags, padding
_PIECES = 1_000  # of a file, at most: each is opened, which takes up to 50 ms
_SEARCH = 1 << 20  # bytes of a part that is searched, at most
AHEAD = 1 << 13  # bytes that libFLAC reads at once
_READS = 5_000  # for its search of a frame, which may take minutes where other things follow

_FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22")
_PAGE = re.compile(rb"OggS\0|" + mpeg.OTHER.pattern, re.DOTALL)
# an MPEG frame's header and side information, then the mark of the count of what follows
_XING = re.compile(rb"\xff[\xe2-\xff][\0-\xef].(?:.{32}|.{17}|.{9})(?:Xing|Info)", re.DOTALL)
_MPEG = re.compile(rb"\xff[\xe2-\xff]")
_OTHERS = (b"0&\xb2u\x8ef\xcf\x11", b"#!AMR")  # ASF and AMR: to the end
_ADTS = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
_FRAME = re.compile(rb"\xff[\xe2\xe3\xf0-\xf3\xfa\xfb]")  # of MP3 or AAC, and none of FLAC


def pieces(file: BinaryIO) -> list[SoundPiece]:
    """Cut an open file into its pieces; one where nothing is known of its format."""
    size = file.seek(0, io.SEEK_END)
    found = list(islice(_walk(file, size), _PIECES)) or [SoundPiece(0, size)]
    last = found.pop()
    rest = size - mpeg.after_tags(partial(read_at, file), last.stop)
    if kind_at(file, last.start) in ENDED.keys() - {b"riff"}:  # it may be longer than announced
        last = replace(last, stop=size)
    if rest > SPARE:
        note = f"{last.note} {rest:,} bytes after its end are not used."
        last = replace(last, note=note.lstrip())
    return [*found, last]


def _walk(file: BinaryIO, size: int) -> Iterator[SoundPiece]:
    at, first = mpeg.after_tags(partial(read_at, file), 0), True
    while at < size and (cut := _cutter(file, at, first)) is not None:
        end = yield from cut(file, at, size)
        at, first = mpeg.after_tags(partial(read_at, file), end), False


def _cutter(
    file: BinaryIO, at: int, first: bool = False
) -> Callable[[BinaryIO, int, int], Cut] | None:
    """What cuts the format that starts at a place; the first of a file need not look so sure."""
    head, read = read_at(file, at, 16), partial(read_at, file)
    if kind_at(file, at) in ENDED:
        return ended
    if head[:4] == b"OggS":
        return _ogg
    if head[:4] == b"\x1aE\xdf\xa3":
        return _matroska
    if _FLAC.match(head):
        return _flac
    if mpeg.follows(read, at, mpeg.adts):
        return _aac
    if (first and _MPEG.match(head)) or mpeg.follows(read, at, mpeg.layer3):
        return _mp3
    return _whole if not first and head.startswith(_OTHERS) else None


def _whole(file: BinaryIO, at: int, size: int) -> Cut:
    yield SoundPiece(at, size)
    return size


def _matroska(file: BinaryIO, start: int, size: int) -> Cut:
    """Matroska: a header and a segment, with sizes of as many bytes as their first bits count."""
    end = start
    for _ in range(2):
        raw = read_at(file, end + 4, 8).ljust(8, b"\xff")
        count = 9 - raw[0].bit_length()
        full = (1 << 7 * count) - 1
        length = int.from_bytes(raw[:count], "big") & full
        end = size if length == full else end + 4 + count + length
    end = min(end, size)
    yield SoundPiece(start, end)
    return end


def _ogg(file: BinaryIO, start: int, size: int) -> Cut:
    """Ogg: pages, of which the first and the last of a stream are marked."""
    at = page = start
    opening = True
    closed = damaged = False
    while at < size:
        head = read_at(file, at, 27)
        if head[:5] != b"OggS\0" or len(head) < 27:
            rest = mpeg.after_tags(partial(read_at, file), at)
            if closed and (rest > at or _cutter(file, rest)):
                break
            more = next(_search(file, size, _PAGE, 12, page + 1), size)
            if more == size and closed:
                break
            damaged, at = True, more
            if more < size and read_at(file, more, 5) != b"OggS\0":
                break
            page = at
            continue
        first = bool(head[5] & 2)
        if first and not opening:
            yield _ogg_piece(start, at, closed, damaged)
            start, damaged = at, False
        opening, closed, page = first, bool(head[5] & 4), at
        at += 27 + head[26] + sum(read_at(file, at + 27, head[26]))
    yield _ogg_piece(start, min(at, size), closed and at <= size, damaged)
    return min(at, size)


def _ogg_piece(start: int, stop: int, closed: bool, damaged: bool) -> SoundPiece:
    cut = "" if closed else "It is cut off: its end is missing."
    return SoundPiece(start, stop, note=DAMAGED if damaged else cut)


def _flac(file: BinaryIO, start: int, size: int) -> Cut:
    total = int.from_bytes(read_at(file, start + 21, 5), "big") & (2**36 - 1)  # of STREAMINFO
    stop = next(_search(file, size, _FLAC, 8, start + 1), size)
    end = _flac_end(file, start, stop) if total else None
    if end is None:  # it is cut or damaged: to where another starts, after its metadata
        at, last = start + 4, False
        while not last and (head := read_at(file, at, 4)):
            at, last = at + 4 + int.from_bytes(head[1:], "big"), head[0] > 127
        found, read = _search(file, stop, _FRAME, 2, at), partial(read_at, file)
        kinds = (mpeg.layer3, mpeg.adts)
        frames = (it for it in found if any(mpeg.follows(read, it, kind) for kind in kinds))
        end = min(next(frames, stop), next(_search(file, stop, mpeg.OTHER, 12, at), stop))
    yield SoundPiece(start, end, endless=not total)
    return end


def _flac_end(file: BinaryIO, start: int, stop: int) -> int | None:
    """Where the last frame ends, which only its reader finds; None where it finds none."""
    import soundfile

    slow, end = None, stop
    for reads in (_READS, math.inf):
        window = Window(file, SoundPiece(start, end), slow, reads)
        try:
            with soundfile.SoundFile(window) as sound:
                sound.seek(sound.frames - 1)
                if not len(sound.read(1)):
                    return None
                slow, end = max(0, window.tell() - AHEAD), start + window.tell()
        except (soundfile.SoundFileError, ValueError, OSError):
            return None
    return end


def _aac(file: BinaryIO, start: int, size: int) -> Cut:
    again: int | None = start
    read = partial(read_at, file)
    while again is not None:
        end = again
        while length := mpeg.adts(read(end, 7)):
            end += length
        if end >= size or _cutter(file, mpeg.after_tags(read, end)) is not None:
            break
        found = _search(file, size, _ADTS, 2, end)  # its reader goes on after damage
        again = next((at for at in found if _cutter(file, at) is _aac), None)
    yield SoundPiece(start, min(end, size))
    return min(end, size)


def _mp3(file: BinaryIO, start: int, size: int) -> Cut:
    """MP3: a frame at the start may count the bytes of frames that follow; more may come then."""
    read = partial(read_at, file)
    counted = _XING.match(read_at(file, start, 44)) is not None
    if counted and (end := _mp3_end(file, start, size)) is not None:
        yield SoundPiece(start, end)
        return end
    stop = next(_search(file, size, _XING, 44, start + 1), size)
    if (first := mpeg.header(read_at(file, start, 4))) is None:
        yield SoundPiece(start, stop)
        return stop
    frames, end = mpeg.count(read, start, stop)
    if counted:
        end = stop if end + SPARE >= stop else end
        yield SoundPiece(start, end)
    else:  # with a count before it
        made = mpeg.counting_frame(first, frames, min(end, stop) - start)
        yield SoundPiece(start, min(end, stop), made, missing=max(0, end - stop))
    if end < stop and _cutter(file, mpeg.after_tags(read, end)) is None:
        again = (at for at in _search(file, stop, _MPEG, 2, end) if _cutter(file, at) is _mp3)
        return next(again, stop if end + SPARE >= stop else end)
    return min(end, stop)


def _mp3_end(file: BinaryIO, start: int, size: int) -> int | None:
    """Where the frames end that the first one counts; None where that cannot be."""
    head, read = read_at(file, start, 64), partial(read_at, file)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    flags = int.from_bytes(head[at + 4 : at + 8], "big")
    end = start + int.from_bytes(head[at + 12 : at + 16], "big")
    if flags & 3 != 3 or not start < end <= size:  # frames and bytes are counted
        return None
    rest = mpeg.after_tags(read, end)
    if size - rest <= SPARE and _cutter(file, rest) in (None, _mp3):
        return end if _XING.match(read_at(file, rest, 44)) else size
    more = _cutter(file, rest) is None and mpeg.count(read, rest, min(size, rest + SPARE))[0]
    return None if more else end


def _search(
    file: BinaryIO, size: int, pattern: re.Pattern[bytes], width: int, at: int = 0
) -> Iterator[int]:
    """Find where a pattern of at most `width` bytes starts, a part of the file at a time."""
    part = 1 << 14  # what is searched for is often near
    while at < size:
        block = read_at(file, at, part + width)
        for match in pattern.finditer(block):
            if match.start() < min(part, size - at):
                yield at + match.start()
        at, part = at + part, min(2 * part, _SEARCH)
