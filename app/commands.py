"""All commands of the program, in one table.

The keys, F1, the palette, the footer, the slash commands and docs/keys.md are made from it.

Keys are named as Textual names them. Ctrl+I, Ctrl+M and Ctrl+H are Tab, Enter and Backspace in many
terminals, and Option types characters on a Mac: no command has those.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class When(StrEnum):
    """When a command can be used; the value is its wording in the documentation."""

    ALWAYS = "always"
    WRITING = "in the prompt"
    EMPTY = "while the prompt is empty"
    PICTURE = "while a picture waits to be sent"
    ANSWERED = "after an answer, while nothing is recorded or answered"


@dataclass(frozen=True)
class Situation:
    """What decides which commands can be used.

    Attributes:
        empty: nothing is written in the prompt.
        picture: a picture waits to be sent.
        answered: the last question can be answered or asked again; nothing is recorded or answered.
    """

    empty: bool = True
    picture: bool = False
    answered: bool = False


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        id: never changes: settings and keymaps name it. `/id` in the prompt does it, too.
        title: as in the palette, in a few words.
        help: what it does, in a sentence.
        keys: the default keys; the first one is shown. Empty: by palette and slash alone.
        group: the heading under which F1 and docs/keys.md have it.
        when: when it can be used.
        footer: its word in the footer; empty where it is not shown there.
        argument: what may be typed behind its name, as "/model NAME"; empty for nothing.
    """

    id: str
    title: str
    help: str
    keys: tuple[str, ...]
    group: str
    when: When = When.ALWAYS
    footer: str = ""
    argument: str = ""


PROMPT, TALK, PICTURES, ANSWERS, PROGRAM = "Prompt", "Talking", "Pictures", "Answers", "Program"
GROUPS = (PROMPT, TALK, PICTURES, ANSWERS, PROGRAM)

# fmt: off
COMMANDS = (
    Command("send", "Send", "Send the prompt, with everything that waits.",
            ("enter",), PROMPT, When.WRITING),
    Command("newline", "New line", "Start a new line.",
            ("shift+enter", "ctrl+j"), PROMPT, When.WRITING),
    Command("commands", "Commands", "Type the name of a command, and send it.",
            ("slash",), PROMPT, When.EMPTY),
    Command("files", "Attach a file", "Type the path of a picture, sound, video or text file.",
            ("at",), PROMPT, When.EMPTY),
    Command("edit", "Edit the last question",
            "Take the last question back into the prompt; its answer is forgotten.",
            ("ctrl+e",), PROMPT, When.ANSWERED),
    Command("talk_space", "Talk", "The same as F4.", ("space",), TALK, When.EMPTY, "Talk"),
    Command("talk", "Talk",
            "Start recording; once more sends. It sends by itself after silence.",
            ("f4",), TALK, footer="Talk"),
    Command("hands_free", "Hands-free",
            "Listen all the time, and answer whenever somebody has spoken; once more ends it.",
            ("f7",), TALK),
    Command("speak", "Speak answers", "Read answers aloud, or stop doing so.", ("f8",), TALK),
    Command("escape", "Stop",
            "Discard the recording; or stop the voice and the answer, and keep what was said; or "
            "close what is open.",
            ("escape",), TALK, footer="Stop"),
    Command("screenshot", "Screenshot", "Choose a part of the screen to show.",
            ("ctrl+s",), PICTURES, footer="Screenshot"),
    Command("window", "Picture of a window", "Choose a window to show.", ("f5",), PICTURES),
    Command("screen", "Picture of the whole screen", "Show the whole screen.", ("f6",), PICTURES),
    Command("watch", "Watch the screen",
            "Show the screen again whenever it has changed, with each question; once more ends it.",
            ("f9",), PICTURES),
    Command("paste", "Paste",
            "Attach the picture or the files of the clipboard; text goes into the prompt.",
            ("ctrl+v",), PICTURES, footer="Paste"),
    Command("detail", "Image tokens",
            "Show the last picture in more detail: 70, 140, 280, 560, 1120 tokens, and from the "
            "beginning again.",
            ("ctrl+d",), PICTURES, When.PICTURE),
    Command("regenerate", "Answer again", "Forget the last answer, and answer once more.",
            ("ctrl+g",), ANSWERS, When.ANSWERED),
    Command("copy", "Copy the answer", "Put the last answer into the clipboard.",
            ("ctrl+l",), ANSWERS),
    Command("export", "Export", "Write the conversation as Markdown, with its pictures beside it.",
            ("ctrl+o",), ANSWERS, argument="PATH"),
    Command("page_up", "Page up", "Scroll the conversation up by a page.",
            ("pageup",), ANSWERS),
    Command("page_down", "Page down", "Scroll the conversation down by a page.",
            ("pagedown",), ANSWERS),
    Command("line_up", "Line up", "Scroll the conversation up by a line.",
            ("shift+up",), ANSWERS),
    Command("line_down", "Line down", "Scroll the conversation down by a line.",
            ("shift+down",), ANSWERS),
    Command("newest", "Newest answer",
            "Scroll to the end of the conversation and follow it; within a line of the prompt, go "
            "to the end of that line first.",
            ("end",), ANSWERS),
    Command("trace", "Trace of the last turn",
            "Write what happened when, for ui.perfetto.dev.", (), ANSWERS),
    Command("new", "New conversation", "Start a new conversation; this one is kept.",
            ("ctrl+n",), PROGRAM),
    Command("resume", "Conversations", "Go on with an earlier conversation, rename or delete it.",
            ("ctrl+r",), PROGRAM),
    Command("model", "Model", "Choose a model, or have one come.",
            ("f2",), PROGRAM, footer="Model", argument="NAME"),
    Command("get", "Get a model",
            "Bring Gemma 4 12B, or another model of the Hub, in the form that suits this computer.",
            (), PROGRAM, argument="NAME"),
    Command("settings", "Settings", "Change how the program behaves.", ("f3",), PROGRAM),
    Command("voices", "Voices", "Hear the voices of this computer, and take one.", (), PROGRAM),
    Command("doctor", "Doctor", "See what this computer has and lacks.", (), PROGRAM),
    Command("log", "Log", "See what happened behind the screen.", ("f12",), PROGRAM),
    Command("fix", "Fix", "Do what the last error's card offers first.", ("ctrl+t",), PROGRAM),
    Command("sample", "Sample question",
            "Attach a sample receipt, and a question about it; once more, a spoken one.",
            (), PROGRAM),
    Command("serve", "Serve",
            "Let other programs of this computer use the model; once more ends it.",
            (), PROGRAM),
    Command("theme", "Light or dark", "Change between the light and the dark theme.", (), PROGRAM),
    Command("help", "Keys", "Show all keys.", ("f1",), PROGRAM, footer="Help"),
    Command("palette", "Palette", "Find a command by a part of its name.",
            ("ctrl+p",), PROGRAM, footer="palette"),
    Command("quit", "Quit", "End the program; the conversation is kept.", ("ctrl+q",), PROGRAM),
)
# fmt: on

BY_ID: Mapping[str, Command] = {command.id: command for command in COMMANDS}

OF_THE_PROMPT = ("send", "newline", "commands", "files", "talk_space", "newest")
"""Commands whose keys are the prompt's own."""
NEVER_TYPED = (*OF_THE_PROMPT, "escape", "page_up", "page_down", "line_up", "line_down")
"""Commands that are about the prompt itself, or the same as another one."""

UNSAFE = {
    "ctrl+i": "Tab",
    "ctrl+m": "Enter",
    "ctrl+h": "Backspace",
    "ctrl+left_square_bracket": "Escape",
}
"""Keys that many terminals cannot distinguish from another one."""

_NAMES = {"slash": "/", "at": "@", "escape": "Esc", "pageup": "PageUp", "pagedown": "PageDown"}


def available(command: Command, situation: Situation) -> bool:
    limited = {
        When.EMPTY: situation.empty,
        When.PICTURE: situation.picture,
        When.ANSWERED: situation.answered,
    }
    return limited.get(command.when, True)


def refused(name: str, argument: str, situation: Situation) -> str:
    """Return why "/name argument" cannot be done; empty where it can."""
    command = BY_ID.get(name)
    if command is None or name in NEVER_TYPED:
        near = difflib.get_close_matches(name.lower(), BY_ID, 1, 0.7)
        meant = f" Did you mean /{near[0]}?" if near and near[0] not in NEVER_TYPED else ""
        return f"There is no command /{name}.{meant} Start with // to send a slash."
    if argument and not command.argument:
        return f"/{name} takes nothing behind it. Start with // to send a slash."
    if not available(command, situation):
        return f"/{name} can only be used {command.when}."
    return ""


def keymap(own: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the keys of every command.

    Args:
        own: the user's: command id -> keys, separated by commas; an empty text takes its keys away.

    Returns:
        Command id -> keys, and a sentence for each part of `own` that was not taken.
    """
    keys = {command.id: command.keys for command in COMMANDS}
    warnings = []
    for name, value in own.items():
        if name not in keys:
            warnings.append(f"There is no command {name}: its key is left out.")
            continue
        wanted = tuple(key.strip().lower() for key in value.split(",") if key.strip())
        for key in wanted:
            if key in UNSAFE:
                warnings.append(f"{shown(key)} is {UNSAFE[key]} in many terminals ({name}).")
        keys[name] = wanted
    taken: dict[str, str] = {}
    for name in [*own, *keys]:  # the user's own win over the defaults
        for key in keys.get(name, ()):
            if taken.setdefault(key, name) != name:
                keys[name] = tuple(one for one in keys[name] if one != key)
                first = taken[key]
                if name in own or keys[name] == () and first in own:
                    warnings.append(f"{shown(key)} does {first}: it does not do {name} any more.")
    return keys, warnings


def shown(key: str) -> str:
    """Write a key as people read it: Ctrl+S, F4, Esc."""
    *held, last = key.split("+")
    last = _NAMES.get(last, last.capitalize())
    return "+".join([*(one.capitalize() for one in held), last])


def short(key: str) -> str:
    """Write a key as the footer has it: ^s, f4, esc."""
    return shown(key).lower().replace("ctrl+", "^")


def footer(situation: Situation, keys: Mapping[str, tuple[str, ...]]) -> list[tuple[str, Command]]:
    """Return what the footer shows now, in order: a key as `short` writes it, and its command.

    Of commands with the same word, the first that can be used now is shown.
    """
    words: dict[str, tuple[str, Command]] = {}
    for command in COMMANDS:
        if command.footer and keys[command.id] and available(command, situation):
            words.setdefault(command.footer, (short(keys[command.id][0]), command))
    return list(words.values())


def find(text: str) -> list[Command]:
    """Return the commands that a slash and the start of a name, or a part of a title, may mean.

    Those whose id starts with it come first; a whole id is the only answer.
    """
    wanted = text.removeprefix("/").strip().lower()
    if wanted in BY_ID:
        return [BY_ID[wanted]]
    first = [command for command in COMMANDS if command.id.startswith(wanted)]
    holds = [command for command in COMMANDS if wanted in command.title.lower()]
    return list(dict.fromkeys([*first, *holds]))


def groups() -> Iterable[tuple[str, list[Command]]]:
    for group in GROUPS:
        yield group, [command for command in COMMANDS if command.group == group]
