"""What happens to speech on its way into a microphone, and sounds in which nobody speaks."""

import random
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

RATE = 16000


@dataclass(frozen=True)
class Channel:
    """How wide the world of sounds is; shares are probabilities, quiet is seconds at most."""

    quiet: tuple[float, float] = (1.5, 1.5)
    noise: float = 0.6
    kinds: tuple[str, ...] = ("white", "fan", "hum", "babble")
    echo: float = 0.25
    narrow: float = 0.25
    faint: float = 0.25  # smallest loudness


PLAIN = Channel((0.3, 0.0), 0.0, (), 0.0, 0.0, 0.3)


class Room:
    """Puts speech into quiet, noise and rooms; remembers what was spoken, to babble with it."""

    def __init__(self, rng: random.Random, channel: Channel) -> None:
        self.rng, self.channel = rng, channel
        self.noise = np.random.default_rng(rng.randrange(2**32))
        self._others: list[np.ndarray] = []

    def hear(self, spoken: np.ndarray) -> np.ndarray:
        """Speech as the microphone has it: float32 (n,) at 16 kHz in [-1, 1]."""
        rng, channel = self.rng, self.channel
        before, after = (int(rng.uniform(0, most) * RATE) for most in channel.quiet)
        if rng.random() < 0.35:  # no more than there was in the first world
            before, after = int(rng.uniform(0, min(0.3, channel.quiet[0])) * RATE), 0
        clean = spoken
        if rng.random() < channel.echo:
            spoken = self._echo(spoken)
        if rng.random() < channel.narrow:
            spoken = self._narrow(spoken)
        heard = np.concatenate([np.zeros(before), spoken, np.zeros(after)])
        if channel.kinds and rng.random() < channel.noise:
            level = float(np.sqrt(np.mean(spoken**2)) + 1e-6) * 10 ** (-rng.uniform(10, 40) / 20)
            heard = heard + level * self._sound(rng.choice(channel.kinds), len(heard))
        heard = heard * rng.uniform(channel.faint, 1.0)
        self._others = [*self._others[-7:], clean]
        return np.clip(heard, -1, 1).astype(np.float32)

    def nobody(self) -> np.ndarray:
        """Half a second to four seconds without a word: silence, noise, humming, music."""
        count = int(self.rng.uniform(0.5, 4.0) * RATE)
        kind = self.rng.choice(
            ("silence", "white", "fan", "hum", "tone", "humming", "music", "knock")
        )
        sound = self._sound(kind, count) * 10 ** self.rng.uniform(-3.0, -0.7)
        return np.clip(sound, -1, 1).astype(np.float32)

    def _sound(self, kind: str, count: int) -> np.ndarray:
        made = getattr(self, f"_{kind}")(count)
        strength = float(np.sqrt(np.mean(made**2)))
        louder: np.ndarray = made / strength if strength > 0 else made
        return louder

    def _silence(self, count: int) -> np.ndarray:
        return np.zeros(count)

    def _white(self, count: int) -> np.ndarray:
        return self.noise.standard_normal(count)

    def _fan(self, count: int) -> np.ndarray:
        spectrum = np.fft.rfft(self.noise.standard_normal(count))
        hertz = np.fft.rfftfreq(count, 1 / RATE)
        slope = self.rng.uniform(0.4, 1.2)
        made = np.fft.irfft(spectrum / np.maximum(hertz, 40) ** slope, count)
        return made / (np.std(made) + 1e-9) + 0.3 * self._hum(count)

    def _hum(self, count: int) -> np.ndarray:
        turn = 2 * np.pi * self.rng.choice((50, 60, 100, 120)) * np.arange(count) / RATE
        return sum(np.sin(n * turn + self.rng.uniform(0, 6)) / n for n in range(1, 6))  # type: ignore[return-value]

    def _tone(self, count: int) -> np.ndarray:
        return np.sin(2 * np.pi * self.rng.uniform(100, 3000) * np.arange(count) / RATE)

    def _humming(self, count: int) -> np.ndarray:
        """A voice without words: a gliding pitch with the harmonics of a closed mouth."""
        points = max(2, count // 6000)
        pitch = self.noise.uniform(90, 300) * 2 ** (self.noise.integers(-5, 6, points) / 12)
        glide = np.interp(np.arange(count), np.linspace(0, count, points), pitch)
        turn = 2 * np.pi * np.cumsum(glide * (1 + 0.01 * np.sin(np.arange(count) / 500))) / RATE
        fall = self.rng.uniform(1.0, 2.5)
        made = sum(np.sin(n * turn) / n**fall for n in range(1, 9))
        return made * self._beats(count, points)  # type: ignore[no-any-return]

    def _music(self, count: int) -> np.ndarray:
        made, place = np.zeros(count), 0
        while place < count:
            length = int(self.rng.uniform(0.15, 0.6) * RATE)
            fade = np.exp(-np.arange(length) / RATE * self.rng.uniform(1, 8))
            root = 220 * 2 ** (self.rng.randrange(-12, 24) / 12)
            for step in self.rng.choice(((0,), (0, 4, 7), (0, 3, 7), (0, 12))):
                turn = 2 * np.pi * root * 2 ** (step / 12) * np.arange(length) / RATE
                note = fade * sum(np.sin(n * turn) / n for n in range(1, self.rng.randint(2, 6)))
                made[place : place + length] += note[: count - place]
            place += int(length * self.rng.uniform(0.5, 1.0))
        return made

    def _knock(self, count: int) -> np.ndarray:
        made = np.zeros(count)
        for _ in range(self.rng.randint(1, 8)):
            start = self.rng.randrange(count)
            length = min(count - start, self.rng.randint(200, 2500))
            fade = np.exp(-np.arange(length) / (length / 5))
            made[start : start + length] += fade * self.noise.standard_normal(length)
        return made

    def _babble(self, count: int) -> np.ndarray:
        made = np.zeros(count)
        for other in self._others:
            if len(other):
                made += np.resize(np.roll(other, self.rng.randrange(len(other))), count)
        return made if self._others else self._fan(count)

    def _beats(self, count: int, points: int) -> np.ndarray:
        return np.interp(
            np.arange(count), np.linspace(0, count, points), self.noise.uniform(0.2, 1, points)
        )

    def _echo(self, spoken: np.ndarray) -> np.ndarray:
        length = int(self.rng.uniform(0.08, 0.4) * RATE)
        tail = self.noise.standard_normal(length) * np.exp(-6 * np.arange(length) / length)
        tail[0] = self.rng.uniform(4, 12)
        wet = fftconvolve(spoken, tail / np.linalg.norm(tail))
        return wet * (np.abs(spoken).max() + 1e-6) / (np.abs(wet).max() + 1e-6)  # type: ignore[no-any-return]

    def _narrow(self, spoken: np.ndarray) -> np.ndarray:
        """What a telephone or a coder leaves: nothing above an edge, coarse steps below it."""
        if not len(spoken):
            return spoken
        spectrum = np.fft.rfft(spoken)
        hertz = np.fft.rfftfreq(len(spoken), 1 / RATE)
        spectrum[hertz > self.rng.uniform(2800, 7000)] = 0
        spectrum[hertz < self.rng.choice((0, 0, 100, 300))] = 0
        made = np.fft.irfft(spectrum, len(spoken))
        if self.rng.random() < 0.5:
            step = np.abs(made).max() / 2 ** self.rng.randint(5, 9) + 1e-9
            made = np.round(made / step) * step
        return made
