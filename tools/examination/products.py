"""Rows of the table that go through the product's own ways in: microphone and gate, the screen.

Speech is played into PulseAudio's null sink and recorded by `Microphone`, and `SpeechGate` cuts it
out; text is shown by xterm and a Tk dialog under Xvfb and pictured as the program pictures screens.
"""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageGrab

from mlx_gemma4.capture.speechgate import SpeechGate
from mlx_gemma4.evaluate.tiny import words
from mlx_gemma4.media.audio import FRAME, RATE, frames

from . import hearing, talk
from .item import Item, Row, heard, listed, one, shown
from .reading import ASKED, known, printed, receipt

FEW = 16 / 256
ALSA = """
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "default" } }
ctl.!default { type pulse }
"""
SOUND = ("pulseaudio", "pactl", "paplay")
SCREEN = ("Xvfb", "xterm", "wish")
_LETTER, _LINE = 26.57, 48  # pixels of the font, and of a line, as receipts have them
_WISH = """
wm overrideredirect . 1; wm geometry . 432x288+0+0; . configure -bg {back}
frame .f -bg {face} -bd 1 -relief solid; place .f -relx 0.5 -rely 0.5 -anchor center
label .f.m -text {{{message}}} -font {{{{DejaVu Sans Mono}} -22}} -bg {face} -fg {ink}
pack .f.m -padx 16 -pady 14; frame .f.b -bg {face}; pack .f.b -pady 10
option add *Button.font {{{{DejaVu Sans Mono}} -22}}
foreach name {{{names}}} {{
  pack [button .f.b.[string tolower $name] -text $name -bg {face} -fg {ink}] -side left -padx 8
}}
"""


def gated(rng: random.Random) -> Item:
    """Speech between pauses, as the gate lets it through."""
    text = words.command(rng, True) if rng.random() < 0.5 else words.digits(rng, True)
    wide = np.pad(hearing.say(rng, text), (RATE // 2, RATE))
    return heard(text, _through(SpeechGate(), frames(wide)))


def recorded(rng: random.Random) -> Item:
    """A spoken question about a receipt, by loudspeaker, microphone and gate."""
    paper = receipt(rng)
    kind = rng.choice(ASKED)
    before = shown(printed(rng, paper), "", paper.answer(kind))
    return heard(before.answer, _recorded(hearing.say(rng, known(rng, kind).rstrip("?"))), before)


def terminal(rng: random.Random) -> Item:
    """A receipt in an xterm, dark or light."""
    paper = receipt(rng)
    kind = rng.choice(ASKED)
    colours = rng.choice((("black", "white"), ("white", "black")))
    command = [
        *(
            "xterm",
            "-fa",
            f"DejaVu Sans Mono:pixelsize={_LETTER}",
            "-xrm",
            "XTerm*scaleHeight: 1.5",
        ),
        *("-geometry", "17x10+0+-10", "-b", "8", "-bw", "0", "+sb", "-fg", colours[0]),
        *("-bg", colours[1], "-e", "printf '\\033[?25l%s' \"$TEXT\"; sleep 100"),
    ]
    image = _pictured(command, (288, 480), {"TEXT": "\n".join(paper.lines)})
    return one(shown(image, known(rng, kind), paper.answer(kind)))


def dialog(rng: random.Random) -> Item:
    """A dialog of Tk, dark or light: which buttons it has."""
    message, names = rng.choice(talk.DIALOGS)
    back, face, ink = rng.choice(
        (("#202226", "#303238", "#ececec"), ("#7890a8", "#f0f0f0", "#111111"))
    )
    script = _WISH.format(
        back=back, face=face, ink=ink, message=" ".join(message), names=" ".join(names)
    )
    with tempfile.NamedTemporaryFile("w", suffix=".tcl") as file:
        file.write(script)
        file.flush()
        image = _pictured(["wish", file.name], (432, 288), {})
    return one(shown(image, rng.choice(talk.BUTTONS), ", ".join(names)))


def rows() -> list[Row]:
    """Those for which this machine has what they need."""
    found = [Row("digits and commands through the gate", gated, None, "words", 0.25)]
    if all(map(shutil.which, SOUND)):
        found.append(
            Row("spoken question by null sink, microphone and gate", recorded, None, "", FEW)
        )
    if all(map(shutil.which, SCREEN)):
        found.append(Row("receipt in an xterm, by screenshot", terminal, None, "", FEW))
        found.append(
            Row("buttons of a Tk dialog, by screenshot", dialog, None, "", FEW, judge=listed)
        )
    return found


def _through(gate: SpeechGate, sound: np.ndarray) -> np.ndarray:
    passed = [part for part in gate.add(sound) if part is not None]
    return np.concatenate(passed).reshape(-1) if passed else np.zeros(FRAME, np.float32)


def _recorded(speech: np.ndarray) -> np.ndarray:
    folder = _sound_folder()
    from mlx_gemma4.capture.microphone import Microphone

    gate, kept = SpeechGate(), []
    with _sound_server(folder), Microphone() as microphone:
        file = folder / "said.wav"
        soundfile.write(file, np.pad(speech, (RATE // 4, RATE)), RATE)
        while not len(microphone.read(1.0)):
            pass
        with subprocess.Popen(["paplay", str(file)]) as player:
            while player.poll() is None:
                kept.append(_through(gate, microphone.read(0.1)))
        kept.append(_through(gate, microphone.read(0.5)))
    return np.concatenate([part for part in kept if part.any()] or [np.zeros(FRAME, np.float32)])


@cache
def _sound_folder() -> Path:
    """Of this process's sound server; PortAudio learns of it once, when it is first imported."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o700)
    (folder / "alsa.conf").write_text(ALSA)
    names = ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH")
    os.environ |= dict.fromkeys(names, str(folder)) | {
        "PULSE_SERVER": f"unix:{folder}/native",
        "PULSE_COOKIE": f"{folder}/cookie",
        "ALSA_CONFIG_PATH": f"{folder}/alsa.conf",
    }
    return folder


@contextmanager
def _sound_server(folder: Path) -> Iterator[None]:
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    for module in (
        f"module-native-protocol-unix auth-anonymous=1 socket={folder}/native",
        "module-null-sink sink_name=speaker rate=48000 channels=2",
    ):
        command.append(f"--load={module}")
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        try:
            ask = ["pactl", "set-default-source", "speaker.monitor"]
            end = time.monotonic() + 20
            while subprocess.run(ask, capture_output=True).returncode:
                if time.monotonic() > end:
                    raise TimeoutError("PulseAudio does not start")
                time.sleep(0.1)
            yield
        finally:
            server.terminate()


def _pictured(command: list[str], size: tuple[int, int], more: dict[str, str]) -> Image.Image:
    """A screen of its own, pictured when it has not changed for a while."""
    read, write = os.pipe()
    screen = f"{size[0]}x{size[1]}x24"
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", screen, "-noreset"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    try:
        with os.fdopen(read) as line:
            display = f":{line.readline().strip()}"
        environment = os.environ | more | {"DISPLAY": display}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as window:
            last, same, end = b"", 0, time.monotonic() + 15
            while same < 4 and time.monotonic() < end:
                time.sleep(0.2)
                image = ImageGrab.grab((0, 0, *size), xdisplay=display).convert("RGB")
                drawn = len(image.getcolors(1 << 20) or ()) > 3
                same = same + 1 if drawn and image.tobytes() == last else 0
                last = image.tobytes()
            window.terminate()
        return image
    finally:
        server.terminate()
        server.wait()
