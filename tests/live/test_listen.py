"""`gemma4 listen` at a real microphone: PulseAudio's null sink, which PortAudio meets by ALSA."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest

DEMO = Path(__file__).parents[2] / "assets" / "demo"
# A shell that starts the tests in the background lets their programs ignore Ctrl-C: undo that.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mlx_gemma4.cli import main
sys.exit(main())
"""
GEMMA4 = [sys.executable, "-c", PROGRAM]
ALSA = """
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "default" } }
ctl.!default { type pulse }
"""
SINK = "module-null-sink sink_name=speaker rate=48000 channels=2"


def missing() -> str:
    """What this machine lacks; nothing where it has all."""
    programs = [name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None]
    if not any(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        programs.append("ALSA's plugin for PulseAudio (libasound2-plugins)")
    try:
        import sounddevice  # noqa: F401
    except OSError:
        programs.append("PortAudio (libportaudio2)")
    return ", ".join(programs)


pytestmark = pytest.mark.skipif(bool(missing()), reason=f"this machine lacks {missing()}")


@pytest.fixture
def sound_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which what is played into a sink is what the microphone hears."""
    folder = tmp_path_factory.mktemp("pulse")
    folder.chmod(0o700)
    (folder / "alsa.conf").write_text(ALSA)
    socket = folder / "native"
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_RUNTIME_PATH": str(folder),
        "PULSE_STATE_PATH": str(folder),
        "PULSE_SERVER": f"unix:{socket}",
        "PULSE_COOKIE": str(folder / "cookie"),
        "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
    }
    modules = [f"module-native-protocol-unix auth-anonymous=1 socket={socket}", SINK]
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    server = subprocess.Popen(
        [*command, *(f"--load={module}" for module in modules)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        ask = ["pactl", "set-default-source", "speaker.monitor"]
        while subprocess.run(ask, env=environment, capture_output=True).returncode:
            assert time.monotonic() < deadline, "PulseAudio does not start"
            time.sleep(0.1)
        yield environment
    finally:
        server.terminate()
        server.wait()


def lines_of(stream: object) -> Queue[str]:
    """The lines of a stream as they come."""
    lines: Queue[str] = Queue()

    def read() -> None:
        for line in stream:  # type: ignore[attr-defined]
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def test_a_question_that_is_spoken_into_the_microphone_is_answered_right(
    sound_server: dict[str, str],
) -> None:
    listen = subprocess.Popen(
        [*GEMMA4, "listen", "--image", str(DEMO / "receipt.png")],
        env=sound_server,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, answers = lines_of(listen.stderr), lines_of(listen.stdout)
        told = ""
        while "Listening to" not in told:
            told += said.get(timeout=60)
        while "The microphone is silent" not in told:  # it hears: the sink's zeros
            told += said.get(timeout=20)
        subprocess.run(
            ["paplay", str(DEMO / "question.wav")], env=sound_server, check=True, timeout=20
        )
        assert answers.get(timeout=30) == "19.56\n"
        while "after the end of speech" not in told:
            told += said.get(timeout=20)
        listen.send_signal(signal.SIGINT)
        assert listen.wait(30) == 0
        with pytest.raises(Empty):
            answers.get_nowait()
        assert "Error" not in told
    finally:
        listen.kill()
