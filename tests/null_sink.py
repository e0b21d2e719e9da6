"""A microphone without one: PulseAudio's null sink, which PortAudio meets by ALSA."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

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


@pytest.fixture
def sound_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which what is played into a sink is what the microphone hears."""
    folder = tmp_path_factory.mktemp("pulse")
    folder.chmod(0o700)
    with null_sink(folder) as environment:
        yield environment


@contextmanager
def null_sink(folder: Path) -> Iterator[dict[str, str]]:
    """The same in a folder that only its owner may read."""
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


def with_silence(sound: Path, folder: Path) -> Path:
    """Put a moment of silence before a sound: a null sink can lose the first 40 ms it is given."""
    samples, rate = soundfile.read(sound)
    path = folder / f"after-silence-{sound.name}"
    soundfile.write(path, np.concatenate([np.zeros(round(0.15 * rate)), samples]), rate)
    return path
