"""The rows of the self-test, in their order."""

from functools import partial

import mlx.core as mx

from . import answers, caches, devices, measured, parity
from .check import SelfCheck

CHECKS = (
    SelfCheck("device", "MLX computes here", devices.computes),
    SelfCheck("random, float32", "as transformers", partial(parity.random, mx.float32)),
    SelfCheck("random, bfloat16", "as transformers", partial(parity.random, mx.bfloat16)),
    SelfCheck("tiny, float32", "as transformers", partial(parity.tiny, mx.float32)),
    SelfCheck("tiny, bfloat16", "as transformers", partial(parity.tiny, mx.bfloat16)),
    SelfCheck("this model", "as transformers", parity.chosen),
    SelfCheck("rows in 8 bits", "near rows as computed", partial(parity.quantized_rows, 8)),
    SelfCheck("rows in 4 bits", "near rows as computed", partial(parity.quantized_rows, 4)),
    SelfCheck("cache", "as a fresh one", caches.schedules),
    SelfCheck("receipt", "a picture is read", partial(answers.answers, "receipt")),
    SelfCheck("digits", "a voice is heard", partial(answers.answers, "digits")),
    SelfCheck("spoken question", "about a picture", partial(answers.answers, "spoken question")),
    SelfCheck("second turn", "by voice", answers.second_turn),
    SelfCheck("4 bits", "quantized weights answer", answers.four_bits),
    SelfCheck("seeds", "decide what is drawn", answers.seeds),
    *(SelfCheck(name, "no wait", partial(measured.speed, name)) for name in measured.LIMITS),
    SelfCheck("memory", "as predicted", measured.memory),
    SelfCheck("microphone", "hears", devices.microphone, asked=True),
    SelfCheck("screen", "is seen", devices.screen, asked=True),
)
NAMES = tuple(check.name for check in CHECKS)
