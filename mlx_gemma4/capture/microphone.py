"""The microphone as frames of 16 kHz, through PortAudio.

The callback, which runs on PortAudio's own thread, only copies; all else is done by who reads.
"""

import platform
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import Gemma4Error
from ..media.audio import FRAME, RATE, Frames
from . import portaudio
from .terminal import terminal

FIRST_BLOCK_SECONDS = 5.0
"""How long a device may take to start: Bluetooth needs 1 to 3 s, a permission dialog longer."""
STALL_SECONDS = 0.5
"""How long nothing may come after that; blocks come every 40 ms."""


class Microphone:
    """An input that is open from the start.

    Args:
        device: part of its name, as in `inputs`, of several the first; None for the system's
            default.

    Attributes:
        rate: at which it records; its sound is resampled to 16 kHz.

    Raises:
        Gemma4Error: as `portaudio.load`, or there is no such device, or it cannot be opened.
    """

    def __init__(self, device: str | None = None) -> None:
        sounddevice = portaudio.load()
        information = _find(sounddevice, device)
        self.name: str = information["name"]
        self._blocks: deque[NDArray[np.float32]] = deque()
        self._came = threading.Condition()
        self._last = time.monotonic() + FIRST_BLOCK_SECONDS - STALL_SECONDS
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)  # less than a frame
        self._zeros = 0  # samples at the end that are exactly zero
        self.level = -np.inf
        """Of the last frames, in dB of full scale (the root mean square)."""
        self._closing = threading.Lock()
        self.rate, self._stream = self._start(sounddevice, information)
        self._resampled: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda block: block
        if self.rate != RATE:
            import soxr

            stream = soxr.ResampleStream(self.rate, RATE, 1, dtype="float32")
            self._resampled = stream.resample_chunk

    @property
    def silent_seconds(self) -> float:
        """For how long every sample has been exactly zero, which no real microphone returns."""
        return self._zeros / RATE

    def read(self, timeout: float) -> Frames:
        """The frames (n, 640) that have come; n is 0 where none came within the seconds.

        Raises Gemma4Error where the device has stopped, once what came before was returned.
        """
        with self._came:
            self._came.wait_for(lambda: self._blocks, timeout)
            blocks = [*self._blocks]
            self._blocks.clear()
            idle = time.monotonic() - self._last
        if not blocks and idle > STALL_SECONDS:
            raise Gemma4Error(
                "microphone_stopped",
                "The microphone has stopped",
                f"Nothing has come from {self.name} for {idle:.1f} s.",
                "See whether it is still connected, and start again.",
            )
        new = np.concatenate([self._rest, *map(self._resampled, blocks)])
        whole = len(new) // FRAME * FRAME
        self._rest = new[whole:]
        frames = new[:whole].reshape(-1, FRAME)
        if whole:
            sounding = np.flatnonzero(frames)
            self._zeros = whole - 1 - int(sounding[-1]) if len(sounding) else self._zeros + whole
            power = float(np.square(frames).mean())
            self.level = 10 * np.log10(power) if power else -np.inf
        return frames

    def close(self) -> None:
        """Close the device, once: PortAudio may never return from closing what is closed."""
        with self._closing:
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, sounddevice: Any, information: Any) -> tuple[int, Any]:
        """Open it at 16 kHz, or else at its own rate."""
        own = round(information["default_samplerate"])
        for rate in dict.fromkeys((RATE, own)):
            try:
                stream = sounddevice.InputStream(
                    rate,
                    blocksize=rate * FRAME // RATE,
                    device=information["index"],
                    channels=1,
                    dtype="float32",
                    callback=self._take,
                )
                try:
                    stream.start()
                except sounddevice.PortAudioError:
                    stream.close()  # what is open keeps the next try out
                    raise
                return rate, stream
            except sounddevice.PortAudioError as refused:
                error = refused
        raise Gemma4Error(
            "microphone_unavailable",
            "The microphone cannot be opened",
            f"{self.name} refuses 16 kHz and {own / 1000:g} kHz ({error}).",
            "See whether another program holds it, or choose another microphone.",
        ) from error

    def _take(self, block: NDArray[np.float32], *_: object) -> None:
        # overflow flags are not looked at: on Macs they are set where nothing was lost
        with self._came:
            self._blocks.append(block[:, 0].copy())
            self._last = max(self._last, time.monotonic())
            self._came.notify_all()


def inputs() -> list[str]:
    """The names of the devices that can record. Raises Gemma4Error as `portaudio.load`."""
    return [device["name"] for device in _inputs(portaudio.load())]


def silent(name: str) -> Gemma4Error:
    """Make the error of a microphone whose samples are all exactly zero, with every usual cause."""
    if platform.system() == "Darwin":
        program = terminal()
        cause = f"It is muted, or {program} may not use the microphone."
        remedy = (
            f"Allow {program} under System Settings > Privacy & Security > Microphone and restart "
            "it; see System Settings > Sound > Input too."
        )
    else:
        cause = "It is muted, or nothing is connected to the default input."
        remedy = "See the sound settings of the system (pavucontrol, or alsamixer)."
    return Gemma4Error(
        "microphone_silent",
        "The microphone is silent",
        f"{name} returns only zeros. {cause}",
        remedy,
    )


def _inputs(sounddevice: Any) -> list[Any]:
    return [device for device in sounddevice.query_devices() if device["max_input_channels"] > 0]


def _find(sounddevice: Any, device: str | None) -> Any:
    try:
        return sounddevice.query_devices(device, "input")
    except (ValueError, sounddevice.PortAudioError) as error:
        there = _inputs(sounddevice)
        words = (device or "").casefold().split()
        alike = [one for one in there if all(word in one["name"].casefold() for word in words)]
        if words and alike:  # several: one of exactly this name, else the first
            return min(alike, key=lambda one: one["name"].casefold() != str(device).casefold())
        raise Gemma4Error(
            "microphone_missing",
            f"There is no microphone {device}" if device else "There is no microphone",
            f"Inputs of this machine: {', '.join(one['name'] for one in there) or 'none'}.",
            "Choose one of these, or connect another." if there else "Connect one.",
        ) from error
