"""What the user can set: one dataclass, which settings.toml and the settings screen are made from.

The file keeps its comments, its order, and what this program does not know.
"""

import dataclasses
import os
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.toml_document import TOMLDocument

from mlx_gemma4.hub import catalog, disk
from mlx_gemma4.media.images import BUDGETS

FILE = "settings.toml"
HEAD = (
    "Settings of gemma4. What is not set, or is behind a #, is as the program has it.",
    "The program changes only the values that are changed in it.",
)


def _set(default: Any, label: str, about: str, check: "Check | None" = None) -> Any:
    return field(default=default, metadata={"label": label, "about": about, "check": check})


@dataclass(frozen=True)
class Check:
    """What a value must be beyond its type; `said` completes "it must be"."""

    said: str
    holds: Callable[[Any], bool]


def _between(low: float, high: float) -> Check:
    return Check(f"from {low:g} to {high:g}", lambda value: low <= value <= high)


_KEYS = (
    'Keys by the command\'s id, as talk = "f4"; several: "ctrl+j,shift+enter". Ids: docs/keys.md.'
)
_BUDGET = Check(f"one of {', '.join(map(str, BUDGETS))}", lambda value: value in BUDGETS)


@dataclass(frozen=True)
class Settings:
    """Every setting with its default; the `about` of its metadata is its comment in the file."""

    model: str = _set(
        "",
        "Model",
        "Folder or name of the model to load; empty: what `gemma4 get` brought, else the tiny one.",
    )
    system: str = _set("", "Instruction", "An instruction before every conversation.")
    image_tokens: int = _set(
        280, "Tokens of a picture", "Tokens of a picture from a file or the clipboard.", _BUDGET
    )
    screen_tokens: int = _set(
        1120,
        "Tokens of the screen",
        "The most tokens of a picture of the screen: small text needs 1120.",
        _BUDGET,
    )
    max_tokens: int = _set(
        1024, "Longest answer", "The most tokens of an answer.", _between(1, 1_000_000)
    )
    temperature: float | None = _set(
        None,
        "Variety",
        "0 for the likeliest answer, 1 for more variety; left out: the model's own.",
        _between(0, 2),
    )
    thinking: bool = _set(False, "Think first", "Whether the model thinks before it answers.")
    hearing: Literal["auto", "direct", "relay"] = _set(
        "auto",
        "How it hears",
        "Sound is heard in the conversation (direct), or transcribed first (relay); auto takes "
        "what the model understands better.",
    )
    heard: bool = _set(True, "Show what it heard", "Show what was understood of what you say.")
    kv_bits: Literal[0, 8, 4] = _set(
        0,
        "Bits of its memory",
        "Bits of the conversation's memory; 0: not quantized; 8 and 4 take less.",
    )
    draft: Literal["auto", "lookup", "off"] = _set(
        "auto",
        "Propose ahead",
        "Propose tokens, so that answers come sooner: with the model's drafter where `gemma4 bench "
        "--draft` found that it pays (auto), from what was said before (lookup), or not (off).",
    )
    drafter: str = _set(
        "",
        "Drafter",
        "Folder, or name in the catalogue, of a drafter; empty: the model's own, where it pays.",
    )
    when_full: Literal["stop", "drop"] = _set(
        "drop", "When it is full", "When the context is full: stop, or drop the oldest turns."
    )
    park_gigabytes: float = _set(
        4.0,
        "Disk for resuming",
        "Gigabytes of disk on which conversations keep what the model has read, so that they are "
        "resumed at once; 0 keeps nothing, and it is read again.",
        _between(0, 10_000),
    )
    microphone: str = _set(
        "", "Microphone", "Part of the microphone's name; empty: the system's own choice."
    )
    stop_after: float = _set(
        1.5,
        "Send after silence",
        "Seconds of silence after which a recording is sent; 0: never by itself.",
        _between(0, 30),
    )
    speak: bool = _set(False, "Read aloud", "Read answers aloud.")
    voice: str = _set(
        "",
        "Voice",
        "A voice's name (/voices lists them), or a command behind a | that reads a text on its "
        "standard input; empty: the system's own voice.",
    )
    rate: int = _set(
        180, "Words a minute", "How fast to speak, in words a minute.", _between(80, 450)
    )
    headphones: bool = _set(
        False,
        "Headphones",
        "You wear headphones: hands-free listens while an answer is read aloud, and speaking cuts "
        "it.",
    )
    watch_seconds: float = _set(
        5.0,
        "Watch the screen",
        "The least seconds between two pictures of a screen that is watched.",
        _between(1, 3600),
    )
    watch_as: Literal["newest", "video"] = _set(
        "newest",
        "What is watched",
        "What of a watched screen goes with a question: the newest picture, or, as a video with "
        "their times, up to 8 that came since the last question, of 70 tokens each.",
    )
    serve: bool = _set(
        False, "Serve", "Let other programs use the model from the beginning (/serve)."
    )
    serve_port: int = _set(
        8080, "Serve port", "The port for that; 0: any that is free.", _between(0, 65_535)
    )
    theme: Literal["dark", "light"] = _set("dark", "Colours", "Colours.")
    keys: Mapping[str, str] = field(
        default_factory=dict, metadata={"label": "Keys", "about": _KEYS, "check": None}
    )


DEFAULTS = Settings()
FIELDS = {each.name: each for each in dataclasses.fields(Settings)}
TYPES: Mapping[str, Any] = get_type_hints(Settings)


def folder() -> Path:
    """Return where the settings are: beside the user's own catalogue (`catalog.user_file`)."""
    return catalog.user_file().parent


def label(name: str) -> str:
    return str(FIELDS[name].metadata["label"])


def about(name: str) -> str:
    return str(FIELDS[name].metadata["about"])


def choices(name: str) -> tuple[Any, ...]:
    """Return all values that a setting can have; empty where they are not few."""
    if FIELDS[name].metadata["check"] is _BUDGET:
        return BUDGETS
    return get_args(TYPES[name]) if get_origin(TYPES[name]) is Literal else ()


def problem(name: str, value: Any) -> str:
    """Return why a setting cannot have this value; empty where it can."""
    kind, check = TYPES[name], FIELDS[name].metadata["check"]
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        if type(value) is not type(allowed[0]) or value not in allowed:
            return f"it must be one of {', '.join(map(repr, allowed))}"
        return ""
    if kind == Mapping[str, str]:
        right = isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values())
        return "" if right else 'it must be a table of texts, as talk = "f4"'
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if type(value) not in kinds and not (float in kinds and type(value) is int):
        return f"it must be {_SPOKEN[kinds[0]]}"
    if check is not None and value is not None and not check.holds(value):
        return f"it must be {check.said}"
    return ""


def load(path: Path) -> tuple[Settings, list[str]]:
    """Read settings.

    Returns:
        The settings, and a sentence for each part of the file that cannot be used: such a value
        counts as not set. A file that is not there is all defaults.
    """
    try:
        document = _document(path)
    except (OSError, ValueError) as error:
        why = f"{error.strerror}." if isinstance(error, OSError) else error
        said = f"{path} cannot be read: {why} All settings are as the program has them."
        return DEFAULTS, [said]
    found: dict[str, Any] = {}
    warnings = []
    for name, value in document.unwrap().items():
        if name not in FIELDS:
            warnings.append(f"{path.name}: there is no setting {name}; it is left as it is.")
        elif wrong := problem(name, value):
            warnings.append(f"{path.name}: {name} is {value!r}, but {wrong}.")
        else:
            found[name] = float(value) if TYPES[name] in (float, float | None) else value
    return Settings(**found), warnings


def save(path: Path, settings: Settings) -> None:
    """Write settings: the values that differ from what the file means now, and nothing else.

    A value that cannot be used and is replaced stays as a comment. A file that is not TOML is kept
    beside the new one, as settings.toml.broken.

    Raises:
        OSError: if it cannot be written; the file is then as it was.
    """
    before, _ = load(path)
    try:
        _document(path)
    except ValueError:
        path.replace(path.with_name(f"{path.name}.broken"))
    text = tomlkit.dumps(_document(path))
    for name in FIELDS:
        if (value := getattr(settings, name)) != getattr(before, name):
            text = _put(text, name, value)
    write(path, text)


def write(path: Path, text: str) -> None:
    """Write the file: it may be a link into a folder of dotfiles, also before it is there."""
    target = Path(os.path.realpath(path))  # which raises nothing where links make a loop
    target.parent.mkdir(parents=True, exist_ok=True)
    disk.write(target, text.encode())


def fresh() -> str:
    """Return the file with all settings as comments, as the first start writes it."""
    lines = [f"# {line}" for line in HEAD]
    for name in FIELDS:
        lines += ["", f"# {about(name)}"]
        if few := choices(name):
            lines.append(f"# One of {', '.join(str(one) for one in few)}.")
        lines.append(_commented(name))
    return "\n".join(lines) + "\n"


def _document(path: Path) -> TOMLDocument:
    """Read the file, or the one that the first start writes; ValueError where it is not TOML."""
    text = path.read_text(encoding="utf-8") if path.is_file() else fresh()
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise ValueError(f"it is not TOML ({error}).") from error


def _commented(name: str) -> str:
    default = getattr(DEFAULTS, name)
    if isinstance(default, Mapping):
        return f"# [{name}]"
    if default is None:
        return f"# {name} ="
    return f"# {name} = {tomlkit.item(default).as_string()}"


def _put(text: str, name: str, value: Any) -> str:
    """Change one value in its place, or in the place of its comment."""
    document = tomlkit.parse(text)
    old = document.get(name)
    if old is not None and (value is None or problem(name, document.unwrap()[name])):
        was = f"# {name} was {tomlkit.item(old).as_string().strip()}"
        del document[name]
        text = was.replace("\n", "\n# ") + "\n" + tomlkit.dumps(document)
        return text if value is None else _put(text, name, value)
    if isinstance(value, Mapping):
        if old is None:  # at the end, for what follows a table would belong to it
            document.add(name, tomlkit.item(dict(value)))
            return re.sub(rf"(?m)^# \[{name}\]\n", "", tomlkit.dumps(document), count=1)
        for gone in [key for key in old if key not in value]:
            del old[gone]
        old.update(value)
        return tomlkit.dumps(document)
    comment = re.search(rf"(?m)^# {name} =.*$", text)
    table = re.search(r"(?m)^\[", text)
    if old is None and comment is not None and (table is None or comment.end() < table.start()):
        line = tomlkit.dumps({name: value}).strip()
        return text[: comment.start()] + line + text[comment.end() :]
    document[name] = value
    return tomlkit.dumps(document)


_SPOKEN = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
