"""The voices of this computer: those of `say` on a Mac, of espeak-ng elsewhere, or any command.

A voice that starts with | is a command that reads a text on its standard input and speaks it.
"""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

from mlx_gemma4.errors import Gemma4Error

SAMPLE = "This is how I read an answer aloud."
"""What is spoken to try a voice."""
_SAY = re.compile(r"^(?P<name>.+?)\s+(?P<language>[a-z]{2,3}[_-][A-Za-z0-9]+)\s+#")
_BETTER = re.compile(r"\((Premium|Enhanced)\)")


@dataclass(frozen=True)
class SystemVoice:
    """A voice: its name for the setting, and its language as en_US, or as espeak-ng has it.

    `better` is what its name marks as premium or enhanced.
    """

    name: str
    language: str
    better: bool = False


def command(voice: str = "", rate: int = 180) -> list[str]:
    """Return the command that speaks what it reads from stdin.

    Args:
        voice: its name; empty for the system's own; or | and a command.
        rate: words a minute; a command of one's own has its own.

    Raises:
        Gemma4Error: this computer has no voice, or the command is not there.
    """
    if voice.strip().startswith("|"):
        return _own(voice.strip()[1:])
    if sys.platform == "darwin" and shutil.which("say"):
        return ["say", *(["-v", voice] if voice else []), "-r", str(rate), "-f", "-"]
    if program := next((name for name in ("espeak-ng", "espeak") if shutil.which(name)), None):
        return [program, *(["-v", voice] if voice else []), "-s", str(rate), "--stdin"]
    raise Gemma4Error(
        "voice_missing",
        "Answers cannot be read aloud",
        "Neither say nor espeak-ng is on this computer.",
        "Install espeak-ng: apt install espeak-ng. Everything else works without it.",
    )


def voices() -> list[SystemVoice]:
    """List the voices of this computer, the better ones first. Waits: call it in a thread.

    Raises Gemma4Error where there are none, or they cannot be listed.
    """
    program = command()[0]
    arguments = ["-v", "?"] if program == "say" else ["--voices"]
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Gemma4Error(
            "voice_failed",
            "The voices cannot be listed",
            f"{program}: {error}.",
            "The empty setting is the system's own voice.",
        ) from error
    found = (_of_say if program == "say" else _of_espeak)(done.stdout)
    return sorted(found, key=lambda voice: not voice.better)


def how_to_get() -> str:
    """Return where better voices come from, and how another program can speak."""
    own = "Settings take any command behind a |, which reads a text on its standard input."
    if sys.platform != "darwin":
        return f"espeak-ng's voices are plain. {own}"
    return (
        "Better ones: System Settings > Accessibility > Read & Speak (before macOS 26: Spoken "
        "Content) > System Voice > Manage Voices, marked Premium or Enhanced. The system's own "
        f"voice may be Siri's. {own}"
    )


def _of_say(listed: str) -> list[SystemVoice]:
    """Read `say -v ?`: Ava (Premium)   en_US    # Hello! My name is Ava."""
    found = []
    for line in listed.splitlines():
        if match := _SAY.match(line):
            name = match["name"].strip()
            found.append(SystemVoice(name, match["language"], bool(_BETTER.search(name))))
    return found


def _of_espeak(listed: str) -> list[SystemVoice]:
    """Read `espeak-ng --voices`: Pty Language Age/Gender VoiceName File Other."""
    rows = [line.split() for line in listed.splitlines()[1:]]
    return [SystemVoice(row[1], row[3].replace("_", " ")) for row in rows if len(row) >= 5]


def _own(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise _unusable(f"{line.strip()} is no command: {error}.") from error
    if not words or shutil.which(words[0]) is None:
        raise _unusable(f"There is no program {words[0] if words else 'behind the |'}.")
    return words


def _unusable(cause: str) -> Gemma4Error:
    return Gemma4Error(
        "voice_unusable",
        "The voice's command cannot be used",
        cause,
        "Write | and a command that reads a text on its standard input, as: | piper -m voice.onnx. "
        "The empty setting is the system's own voice.",
    )
