"""Checks of the machine: what MLX computes on; microphone and screen where `--devices` asks."""

import math
import time

import mlx.core as mx
import numpy as np

from ...capture.microphone import Microphone, silent
from ...evaluate.models import OurModel
from ...footprint import device
from ...model import metal
from ..program import part
from .check import Outcome, judged

PRECISE = 1e-5
"""The most error of a float32 product, as a share of its largest value. An M5 has 11 bits unless
MLX_ENABLE_TF32=0: an error of 5e-4."""
LISTENED = 2.0  # seconds


def computes(_: OurModel) -> Outcome:
    """Multiply two matrices in float32, and compare with double precision."""
    here = device.this()
    if device.is_mac() and not metal.in_use():
        return Outcome("fail", f"{here.name}: Metal is not in use")
    a, b = (np.random.default_rng(seed).standard_normal((256, 256)) for seed in (0, 1))
    product = np.array(mx.array(a.astype(np.float32)) @ mx.array(b.astype(np.float32)))
    exact = a.astype(np.float32).astype(np.float64) @ b.astype(np.float32).astype(np.float64)
    error = float(np.abs(product - exact).max() / np.abs(exact).max())
    return judged(error < PRECISE, f"{here.name}: float32 is off by {error:.1g}", error=error)


def microphone(_: OurModel) -> Outcome:
    """Listen for a moment; macOS asks for the permission the first time."""
    loudest, end = -math.inf, time.monotonic() + LISTENED
    with Microphone() as source:
        while time.monotonic() < end:
            if len(source.read(0.2)):
                loudest = max(loudest, float(source.level))
        if loudest == -math.inf:
            raise silent(source.name)
    return judged(True, f"its loudest moment was {loudest:.0f} dB", loudest=loudest)


def screen(_: OurModel) -> Outcome:
    """Take a picture of the screen, as the terminal program does, and do not keep it."""
    taken = part("devices.screen").capture("screen")
    if taken is None:
        return Outcome("fail", "no picture was taken")
    low, high = taken.image.convert("L").getextrema()
    return judged(high > low, f"{taken.image.width}×{taken.image.height}", levels=high - low)
