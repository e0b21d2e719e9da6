"""Where conversations come from: JSON lines, or a folder of media with their answers.

    FILE.jsonl   {"messages": [...], "tools": [...]} a line
    FOLDER       with answers.csv: a header (file, answer and, if wanted, question), a picture a row
    FOLDER       with sounds, and beside each its transcript: NAME.wav and NAME.txt

Each becomes messages of one form, with the place for an error to name; `data.py` reads those.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import Gemma4Error
from ..json_reader import is_deep
from ..limits import JSON_DEPTH

ANSWERS = "answers.csv"
QUESTION = "What is in this picture?"
"""What is asked about a picture whose row has no question."""
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aiff", ".aif")
SEPARATORS = ",;\t"
MEDIA = ("image", "audio", "video")
"""Types of the parts that name a file."""
_COLUMNS = {"file", "answer", "question"}


@dataclass(frozen=True)
class Line:
    """A conversation that is not checked yet.

    Attributes:
        place: for errors, as "receipts.jsonl, line 3".
        folder: where its relative paths start.
        content: its "messages" and "tools".
        may_lack: whether it is left out where it cannot be used; else that is an error.
    """

    place: str
    folder: Path
    content: Mapping[str, Any]
    may_lack: bool = False

    def file(self, path: str) -> Path:
        return self.folder / (Path(path).expanduser() if path.startswith("~/") else path)

    def parts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The role and content of each part that has a form known here; a plain text is one."""
        messages = self.content.get("messages")
        for message in messages if isinstance(messages, list) else ():
            content = message.get("content") if isinstance(message, dict) else None
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict):
                    yield str(message.get("role")), part


def unusable(place: str, cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("data_unusable", "The data cannot be used", f"{place}: {cause}", remedy)


def lines_of(source: Path, transcribe: str) -> list[Line]:
    """Read a file or folder.

    Args:
        transcribe: the prompt for the transcript of a sound.

    Raises:
        Gemma4Error: it cannot be read, is none of these, or a line is no JSON object.
    """
    try:
        if not source.is_dir():
            return _json_lines(source)
        if (source / ANSWERS).is_file():
            return _pictures(source / ANSWERS)
        if lines := _sounds(source, transcribe):
            return lines
    except OSError as error:
        raise unusable(str(source), f"{error.strerror}.", "Check the path.") from error
    raise unusable(
        str(source),
        f"The folder has neither {ANSWERS} nor sounds.",
        f"Put {ANSWERS} (file,question,answer) beside pictures, or NAME.txt beside NAME.wav.",
    )


def _json_lines(path: Path) -> list[Line]:
    result = []
    # not splitlines: text in JSON may hold other separators of lines as they are
    for number, text in enumerate(_read(path).split("\n"), 1):
        if text.strip():
            place = f"{path.name}, line {number}"
            result.append(Line(place, path.parent, _object(text, place)))
    if not result:
        raise unusable(path.name, "It has no lines.", 'Write {"messages": [...]} a line.')
    return result


def _object(text: str, place: str) -> Mapping[str, Any]:
    def refused(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        content = json.loads(text, parse_constant=refused)
    except (ValueError, RecursionError) as error:
        raise unusable(
            place, f"It is not JSON ({error}).", "Write each object on one line."
        ) from error
    if not isinstance(content, dict):
        raise unusable(
            place, f"It is a {type(content).__name__}.", 'Write {"messages": [...]} a line.'
        )
    if is_deep(content):
        raise unusable(place, f"It is nested more than {JSON_DEPTH} levels deep.", "Cut it there.")
    return content


def _read(path: Path) -> str:
    """A file's text, with line feeds alone and without a byte order mark."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unusable(path.name, "It is not UTF-8.", "Save it as UTF-8.") from error


def _pictures(path: Path) -> list[Line]:
    text = _read(path)
    head = text.partition("\n")[0]
    separator = max(SEPARATORS, key=head.count)  # spreadsheets write others where 1,5 is a number
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        names = [name.strip().lower() for name in rows.fieldnames or ()]
        if not {"file", "answer"} <= set(names) <= _COLUMNS or len(set(names)) < len(names):
            raise unusable(
                f"{path.name}, line 1",
                f"The columns are {', '.join(names) or 'not named'}.",
                "Name them file,question,answer in the first line (question may be left out).",
            )
        rows.fieldnames = names
        result = [_picture(path, rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise unusable(
            f"{path.name}, line {rows.line_num}",
            f"It cannot be read as CSV ({error}).",
            "Close every quote, and write two for a quote within a text.",
        ) from error
    if not result:
        raise unusable(path.name, "It has no rows.", "Write a picture a row.")
    return result


def _picture(path: Path, number: int, row: Mapping[str, Any]) -> Line:
    place = f"{path.name}, line {number}"
    if None in row.values() or None in row:
        raise unusable(
            place, "It has more or fewer values than columns.", "Put text with commas in quotes."
        )
    parts = [
        {"type": "image", "path": row["file"].strip()},
        {"type": "text", "text": row.get("question") or QUESTION},
    ]
    return Line(place, path.parent, _exchange(parts, row["answer"]))


def _sounds(folder: Path, transcribe: str) -> list[Line]:
    """Every sound with its transcript; a transcript without a sound is an error, too."""
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    sounds = [path for path in files if path.suffix.lower() in SOUNDS]
    words = {path.stem: path for path in files if path.suffix.lower() == ".txt" and path.is_file()}
    for path in sounds:
        if path.stem not in words:
            raise unusable(
                path.name, f"There is no {path.stem}.txt beside it.", "Write its transcript."
            )
    if sounds and (alone := sorted(set(words) - {path.stem for path in sounds})):
        raise unusable(
            words[alone[0]].name, "There is no sound beside it.", "Add the sound, or remove it."
        )
    return [_sound(path, _read(words[path.stem]), transcribe) for path in sounds]


def _sound(path: Path, words: str, transcribe: str) -> Line:
    parts = [{"type": "text", "text": transcribe}, {"type": "audio", "path": path.name}]
    return Line(path.name, path.parent, _exchange(parts, words.strip()))


def _exchange(question: Iterable[Mapping[str, str]], answer: str) -> Mapping[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": list(question)},
            {"role": "assistant", "content": answer},
        ]
    }
