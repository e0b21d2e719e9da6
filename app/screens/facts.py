"""What the lines of the chat show, made of the conversation; of widgets only their data."""

import re
from pathlib import Path

from mlx_gemma4.hub import catalog

from .. import commands
from ..state import State
from ..widgets.footer import Key
from ..widgets.status_bar import Status
from ..workspace import Workspace

STATES: dict[State, tuple[str, str, str]] = {
    "empty": ("no model", "$text-error", ""),
    "loading": ("loading the model", "$text-warning", ""),
    "ready": ("ready", "$text-success", ""),
    "reading": ("reading the conversation", "$text-warning", "puts it off"),
    "listening": ("listening", "$text-error", "discards the recording"),
    "thinking": ("thinking", "$text-warning", "stops"),
    "answering": ("answering", "$text-accent", "stops and keeps what was said"),
    "speaking": ("speaking", "$text-accent", "stops the voice"),
}
"""Each state in words, its colour, and what Escape does in it."""
LONG = 1024
"""Tokens of a prompt from which on the share of it that has been read is shown."""


def status(
    workspace: Workspace,
    watching: bool,
    hands_free: bool = False,
    queued: int = 0,
    choosing: str = "",
) -> Status:
    """Return what the line on top shows; `queued` questions wait for an answer to end."""
    conversation = workspace.conversation
    usage, state = conversation.usage, conversation.state
    words, colour, escape = STATES[state]
    if state == "loading" and conversation.sending is not None:
        words = conversation.sending.brief
    if state == "thinking" and usage.to_read >= LONG:
        words = f"reading {100 * usage.read // usage.to_read} %"
    if state == "reading" and conversation.rereading is not None:
        done, total = conversation.rereading
        words = f"reading {total:,} tokens again, {100 * done // total} %"
    if hands_free and state == "ready":
        words = "hands-free, waiting for speech"
    words = choosing or words
    if queued:
        words += f" · {queued} queued"
    name = conversation.model_name
    return Status(
        model=Path(name).name,
        detail="demonstration" if catalog.is_demonstration(name) else "",
        state=words,
        escape=escape,
        colour=colour,
        usage=usage,
        budget=workspace.machine.budget if workspace.machine else 0,
        watching=watching,
        job=workspace.job.at.brief if workspace.job is not None else "",
    )


def footer(workspace: Workspace, empty: bool) -> tuple[Key, ...]:
    """Return the keys of the last line; an F key, which many keyboards hide, has its /command."""
    keys = []
    for key, command in commands.footer(workspace.conversation.situation(empty), workspace.keys):
        word = f"/{command.id}" if re.fullmatch(r"f\d+", key) else command.footer
        keys.append(Key(key, word, command.id))
    return tuple(keys)


def hint(workspace: Workspace, command: str, words: str) -> str:
    """Return what is shown behind a line that a key is for: the key, and what it does."""
    keys = workspace.keys[command]
    return f"{commands.shown(keys[0]).lower()} {words}" if keys else ""
