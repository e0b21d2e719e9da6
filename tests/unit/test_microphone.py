"""The microphone over a PortAudio that is made up; a real one is met in tests/live."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mlx_gemma4.capture import microphone, portaudio
from mlx_gemma4.capture.microphone import Microphone
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.audio import FRAME, RATE


class PortAudioError(Exception):
    pass


class Driver(ModuleType):
    """In the place of `sounddevice`: one input called Desk, which takes some rates."""

    PortAudioError = PortAudioError

    def __init__(self, rates: tuple[int, ...], own: int = 48_000) -> None:
        super().__init__("sounddevice")
        self.rates = rates
        self.devices = [
            {"name": "Desk", "index": 0, "max_input_channels": 1, "default_samplerate": own},
            {"name": "Speaker", "index": 1, "max_input_channels": 0, "default_samplerate": own},
        ]
        self.open, self.starts = False, True
        self.may_close = threading.Event()
        self.may_close.set()
        self.closed = 0

    def query_devices(self, device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.devices
        if device not in (None, "Desk") or self.devices[2:]:
            raise ValueError(f"No input device matching {device!r}, or multiple")
        if not self.devices:
            raise PortAudioError("Error querying device -1")
        return self.devices[0]

    def InputStream(self, rate: int, *, callback: Any, blocksize: int, **_: Any) -> Any:  # noqa: N802
        if rate not in self.rates:
            raise PortAudioError("Invalid sample rate")
        assert not self.open
        self.callback, self.blocksize, self.open = callback, blocksize, True
        return self

    def start(self) -> None:
        if not self.starts:
            raise PortAudioError("Device unavailable")

    def close(self) -> None:
        self.closed += 1
        assert self.may_close.wait(60)
        self.open = False

    def speak(self, samples: np.ndarray) -> None:
        """Call back with blocks, as PortAudio does, which uses its buffer again."""
        for start in range(0, len(samples), self.blocksize):
            block = samples[start : start + self.blocksize, None].copy()
            self.callback(block, len(block), None, None)
            block[:] = 9


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    driver = Driver((RATE, 48_000))
    monkeypatch.setitem(sys.modules, "sounddevice", driver)
    yield driver


def test_it_gives_what_was_recorded_as_whole_frames(driver: Driver) -> None:
    samples = np.linspace(-1, 1, 5 * FRAME + 100, dtype=np.float32)
    with Microphone() as desk:
        assert (desk.name, desk.rate) == ("Desk", RATE)
        driver.speak(samples)
        first = desk.read(1)
        driver.speak(samples[: FRAME - 100])
        second = desk.read(1)
    assert np.array_equal(first.ravel(), samples[: 5 * FRAME])
    assert np.array_equal(second.ravel(), [*samples[5 * FRAME :], *samples[: FRAME - 100]])
    assert not driver.open


def test_a_device_that_refuses_16_khz_is_resampled(driver: Driver) -> None:
    driver.rates = (48_000,)
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
    with Microphone("Desk") as desk:
        assert desk.rate == 48_000
        driver.speak(tone)
        heard = desk.read(1).ravel()
    assert 0.9 * RATE < len(heard) <= RATE
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert np.argmax(spectrum) * RATE / len(heard) == pytest.approx(440, abs=2)


def test_a_device_that_refuses_every_rate_is_told_with_its_name(driver: Driver) -> None:
    driver.rates = ()
    with pytest.raises(Gemma4Error, match="Desk refuses 16 kHz and 48 kHz"):
        Microphone()


def test_a_device_that_does_not_start_is_closed_before_another_try(driver: Driver) -> None:
    driver.starts = False
    with pytest.raises(Gemma4Error, match="refuses 16 kHz and 48 kHz .Device unavailable"):
        Microphone()
    assert driver.closed == 2 and not driver.open


@pytest.mark.parametrize("name", ["Desk", "desk", "sk"])
def test_of_several_devices_of_one_name_the_first_is_taken(driver: Driver, name: str) -> None:
    driver.devices.append({**driver.devices[0], "index": 2})
    with Microphone(name) as desk:
        assert desk.name == "Desk"


def test_of_several_alike_the_one_of_exactly_this_name_is_taken(driver: Driver) -> None:
    driver.devices += [{**driver.devices[0], "index": n, "name": "USB"} for n in (2, 3)]
    driver.devices[0]["name"] = "USB Pro"
    with Microphone("usb") as found:
        assert found.name == "USB"


def test_an_unknown_device_names_what_there_is(driver: Driver) -> None:
    with pytest.raises(Gemma4Error, match="no microphone Kitchen.*Desk") as caught:
        Microphone("Kitchen")
    assert "Speaker" not in str(caught.value)
    assert microphone.inputs() == ["Desk"]


def test_a_machine_without_a_microphone_is_told(driver: Driver) -> None:
    driver.devices.clear()
    with pytest.raises(Gemma4Error, match="There is no microphone.*none"):
        Microphone()


def test_without_portaudio_the_package_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(Gemma4Error, match="libportaudio2"):
        Microphone()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("import os\nos.abort()", "it ended its process with signal 6"),  # an assertion of ALSA
        ("import os\nos.kill(os.getpid(), 11)", "it ended its process with signal 11"),
        ("import time\ntime.sleep(600)", "it has not started within 1 s"),
        ("raise RuntimeError('Unanticipated host error')", "Unanticipated host error"),
    ],
)
def test_a_portaudio_that_ends_its_process_hangs_or_fails_is_an_error_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, why: str
) -> None:
    (tmp_path / "sounddevice.py").write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    if "sleep" in content:
        monkeypatch.setattr(portaudio, "START_SECONDS", 1.0)
    with pytest.raises(Gemma4Error, match=f"PortAudio does not start: {why}") as caught:
        Microphone()
    assert caught.value.code == "portaudio_failed"


def test_a_dead_microphone_is_known_by_exact_zeros_and_a_quiet_one_is_not_dead(
    driver: Driver,
) -> None:
    with Microphone() as desk:
        driver.speak(np.zeros(RATE, np.float32))
        desk.read(1)
        assert desk.silent_seconds == pytest.approx(1.0)
        assert desk.level == -np.inf
        quiet = 1e-5 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
        driver.speak(quiet)
        desk.read(1)
        assert desk.silent_seconds < 0.001
        assert desk.level == pytest.approx(-100, abs=1)
        driver.speak(np.zeros(10 * FRAME, np.float32))
        desk.read(1)
        assert desk.silent_seconds == pytest.approx(0.4, abs=0.001)


def test_a_device_is_closed_once_and_whoever_closes_it_too_waits_for_that(driver: Driver) -> None:
    driver.may_close.clear()
    desk = Microphone()
    first, second = (threading.Thread(target=desk.close) for _ in range(2))
    first.start()
    second.start()
    second.join(0.1)
    assert first.is_alive() and second.is_alive() and driver.open
    driver.may_close.set()
    first.join(60)
    second.join(60)
    desk.close()
    assert not first.is_alive() and not second.is_alive()
    assert driver.closed == 1 and not driver.open


def test_a_device_that_stops_is_told_but_not_one_that_has_not_begun(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(microphone, "FIRST_BLOCK_SECONDS", 30.0)
    with Microphone() as desk:
        time.sleep(0.1)
        assert len(desk.read(0)) == 0
        desk._last = time.monotonic()
        driver.speak(np.ones(FRAME, np.float32))
        assert len(desk.read(0)) == 1
        time.sleep(0.1)
        with pytest.raises(Gemma4Error, match="The microphone has stopped"):
            desk.read(0)


@pytest.mark.parametrize(
    ("system", "words"),
    [("Darwin", ["iTerm", "Privacy & Security"]), ("Linux", ["sound settings"])],
)
def test_the_causes_of_silence_name_the_terminal_where_it_needs_a_permission(
    monkeypatch: pytest.MonkeyPatch, system: str, words: list[str]
) -> None:
    monkeypatch.setattr(microphone.platform, "system", lambda: system)
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    told = str(microphone.silent("Desk"))
    assert "Desk returns only zeros" in told
    assert all(word in told for word in words)
