"""Play a newcomer's first hour: `python -m tools.first_hour [FOLDER]` (out/first-hour).

A fresh clone is installed into a new environment. Then, in the program with screens and again by
command lines alone, Gemma 4 12B is brought from a local Hub, which has the tiny model under its
name so that the answer can be checked; everything is killed in the middle of it and resumed. At
last a voice, through a PulseAudio null sink that is the microphone, asks about a receipt in a
window of a real X server. Nothing is typed but what the README has. log.txt has every key with its
time, screens/ what was shown; status 1 where something did not come.

Needs tmux, Xvfb, xterm, pulseaudio, xdotool where slop is there, and what the tests' null sink
needs; Linux alone.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from tests.app.display import receipt_window, x_server
from tests.hub import server as hub_server
from tests.null_sink import null_sink, with_silence
from tools.make_demo import RECEIPT

from .terminal import FirstHourFailed, LoggedTerminal

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"
NAME = "google/gemma-4-12B-it"
ANSWER = "19.56"
PASSED = ("PATH", "LANG", "USER", "TERM")
"""Variables of ours that a newcomer has, too; besides them those of package indexes."""
WINDOW = 100, 30
DRAG = (
    "mousemove 0 0 sleep .2 mousedown 1 sleep .2 mousemove 100 100 sleep .2 "
    "mousemove 287 479 sleep .2 mouseup 1 sleep .5"
)
"""What xdotool does; the pauses make it a drag, and no click, which chooses a window."""
INSTALL = (
    "python3 -m venv ~/.gemma4 && . ~/.gemma4/bin/activate",
    "pip install .",
)
ROOM_SECONDS = 1800
AGAIN = ". ~/.gemma4/bin/activate"


def main() -> int:
    """Play both ways."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "out" / "first-hour").absolute()
    shutil.rmtree(out, ignore_errors=True)
    (out / "screens").mkdir(parents=True)
    terminal = LoggedTerminal(out / "log.txt", out / "screens", WINDOW)
    hub = hub_server.Hub(chunk=20_000, pause=0.02)
    tiny = (path for path in (ROOT / "assets" / "tiny").iterdir() if path.is_file())
    hub.files[NAME] = {path.name: path.read_bytes() for path in tiny}
    serving = hub_server.start(hub)
    try:
        with tempfile.TemporaryDirectory(prefix="first-hour-") as place:
            folder = Path(place)
            subprocess.run(["git", "clone", "--quiet", ROOT, folder / "clone"], check=True)
            (folder / "sound").mkdir(0o700)
            question = with_silence(DEMO / "question.wav", folder)
            with (
                null_sink(folder / "sound") as sound,
                x_server(288, 480) as display,
                receipt_window(RECEIPT, display),
            ):
                around = {
                    **_passed(),
                    **{k: v for k, v in sound.items() if k.startswith(("PULSE", "ALSA", "XDG_R"))},
                    "DISPLAY": display,
                    "HF_ENDPOINT": hub.url,
                }
                play = Playing(terminal, hub, folder, around, question, sound)
                with room(folder, sound):
                    play.install()
                    play.with_screens()
                    play.by_command_lines()
                terminal.stage("")
    except FirstHourFailed as failed:
        print(failed)
        return 1
    finally:
        terminal.close()
        serving.shutdown()
        _summarize(terminal, out)
    return 0


@contextmanager
def room(folder: Path, sound: Mapping[str, str]) -> Iterator[None]:
    """Let the microphone hear a quiet room: a null sink alone returns zeros, as no room does."""
    noise = np.random.default_rng(0).integers(-2, 3, ROOM_SECONDS * 16_000).astype(np.int16)
    soundfile.write(folder / "room.wav", noise, 16_000)
    with subprocess.Popen(["paplay", folder / "room.wav"], env=dict(sound)) as playing:
        try:
            yield
        finally:
            playing.kill()  # else it plays to its end


class Playing:
    """What a newcomer does.

    Args:
        folder: with the clone and the homes.
        around: the variables of the newcomer's shell but HOME.
        question: a sound.
        sound: the variables of whoever speaks.
    """

    def __init__(
        self,
        terminal: LoggedTerminal,
        hub: hub_server.Hub,
        folder: Path,
        around: Mapping[str, str],
        question: Path,
        sound: Mapping[str, str],
    ) -> None:
        self._terminal, self._hub, self._folder = terminal, hub, folder
        self._around, self._question, self._sound = around, question, sound

    def install(self) -> None:
        """README's commands, in a clone."""
        terminal = self._terminal
        terminal.stage("Install, in a clone")
        self._open("home", "clone")
        for line in INSTALL[:1]:
            terminal.run(line)
        terminal.until("(.gemma4)", seconds=120)
        terminal.run(INSTALL[1])
        terminal.until("Successfully installed", "mlx-gemma4", seconds=900)

    def with_screens(self) -> None:
        """`gemma4`, and nothing but keys from then on."""
        terminal = self._terminal
        terminal.stage("The program: the tour, with the tiny model")
        terminal.run("gemma4")
        terminal.until("Welcome", "Press Enter to ask about this receipt", "ready", seconds=120)
        terminal.press("Enter")
        terminal.until(ANSWER, "Now the same by voice", "ready")
        terminal.press("Enter")
        terminal.until("Heard: what is the total", "That is all it takes", "Get Gemma 4 12B for")
        terminal.stage("Get Gemma 4 12B, killed in the middle")
        terminal.press("C-t")
        terminal.until("↓", "%")
        self._kill_in_the_middle()
        self._open("home", "home")
        terminal.run(AGAIN)
        terminal.run("gemma4")
        terminal.until("↓", "ended unexpectedly", seconds=120)
        self._resumed()
        terminal.until(f"{NAME} is ready", seconds=120)
        terminal.press("C-t")
        terminal.until("gemma-4-12B-it", "ready", absent="is ready")
        terminal.stage("A spoken question about the screen")
        terminal.press("C-n")
        terminal.press("C-s")
        self._choose()
        terminal.until("· 288×480")
        terminal.press("F4")
        terminal.until("● rec")
        self._speak()
        # "Heard:" is asked for in the 12B's own words, which the tiny model never learned
        terminal.until(ANSWER, "Heard:", "ready")
        terminal.press("C-q")
        terminal.until("$")

    def by_command_lines(self) -> None:
        """The same in another home, where nothing was brought."""
        terminal = self._terminal
        terminal.stage("By command lines: get, killed in the middle")
        (self._folder / "second").mkdir()
        (self._folder / "second" / ".gemma4").symlink_to(self._folder / "home" / ".gemma4")
        self._open("second", "second")
        terminal.run(AGAIN)
        terminal.run("gemma4 get")
        terminal.until("Download it? [Y/n]", seconds=120)
        terminal.press("Enter")
        self._kill_in_the_middle()
        self._open("second", "second")
        terminal.run(AGAIN)
        terminal.run("gemma4 get")
        terminal.until("are there from a former try", "Download it? [Y/n]", seconds=120)
        terminal.press("Enter")
        self._resumed()
        terminal.until("may make its answers faster", "[Y/n]", seconds=120)
        terminal.type("n")
        terminal.press("Enter")
        terminal.until("Open it now? [Y/n]")
        terminal.type("n")
        terminal.press("Enter")
        terminal.until("To open it: gemma4")
        terminal.stage("A spoken question about the screen")
        terminal.run("gemma4 listen --screen")
        self._choose()
        terminal.until("· 288×480", "Listening to", seconds=120)
        self._speak()
        terminal.until(ANSWER, "after the end of speech")
        terminal.press("C-c")
        terminal.until("$")

    def _open(self, home: str, folder: str) -> None:
        place = self._folder / home
        place.mkdir(exist_ok=True)
        self._terminal.open(self._folder / folder, {**self._around, "HOME": str(place)})

    def _kill_in_the_middle(self) -> None:
        whole = sum(map(len, self._hub.files[NAME].values()))  # type: ignore[arg-type]
        before = self._hub.sent
        self._terminal.wait(
            f"half of {whole:,} bytes came", lambda: self._hub.sent - before > whole / 2
        )
        self._hub.requests.clear()
        self._terminal.pull_the_plug()

    def _resumed(self) -> None:
        def ranges() -> list[str]:
            return [r for r in self._hub.asked("cdn") if r and r.endswith("-")]

        self._terminal.wait("the download is resumed", ranges)
        self._terminal.note(f"the Hub was asked for {ranges()[0]}")

    def _choose(self) -> None:
        """Draw a rectangle around the screen, where slop asks for a part of it."""
        if shutil.which("slop") is None:
            return
        terminal, display = self._terminal, {**os.environ, "DISPLAY": self._around["DISPLAY"]}
        terminal.wait("slop asks for a part of the screen", lambda: terminal.runs("slop"), 120)

        def drawn() -> bool:
            if terminal.runs("slop"):  # not yet, or it did not look yet
                subprocess.run(["xdotool", *DRAG.split()], env=display, check=True, timeout=20)
            return not terminal.runs("slop")

        terminal.wait("it is drawn with the mouse", drawn)

    def _speak(self) -> None:
        """Ask aloud. The microphone hears a quiet room all the time."""
        self._terminal.note("SPEAK  what is the total")
        subprocess.run(["paplay", self._question], env=self._sound, check=True, timeout=20)


def _passed() -> dict[str, str]:
    """Variables of ours that a newcomer may have."""
    index = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != own)
    passed = {k: v for k, v in os.environ.items() if k in PASSED} | index
    return passed | {"PATH": path, "LANG": "C.UTF-8", "TERM": "xterm-256color"}


def _summarize(terminal: LoggedTerminal, out: Path) -> None:
    """Print what each stage took, and append it to the log."""
    for (title, started, keys), (_, ended, so_far) in pairwise(
        [*terminal.stages, ("", terminal.seconds, terminal.keys)]
    ):
        if not title:
            break
        line = f"{title:50} {ended - started:6.0f} s  {so_far - keys:4} keys"
        terminal.note(line)
        print(line)
    print(f"{out / 'log.txt'}")


if __name__ == "__main__":
    sys.exit(main())
