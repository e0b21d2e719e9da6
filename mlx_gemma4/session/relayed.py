"""Sounds of earlier turns that the model would hear badly where they are, as text.

A client sends the whole conversation each time, so a sound that was relayed comes back as a sound:
it becomes the same text as before, and its rows are found.
"""

import operator
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from itertools import accumulate

from ..chat.messages import SoundPart, TextPart, Turn
from ..generation.prefill_decode import Steps
from .rows import PromptRows
from .transcriber import Transcriber


def has_sound(turns: Sequence[Turn]) -> bool:
    return bool(_sounds(turns))


def heard_in(turn: Turn, known: Mapping[str, str]) -> str:
    """What was understood of a turn's sounds."""
    texts = [known.get(part.digest, "") for part in turn.parts if isinstance(part, SoundPart)]
    return " ".join(texts).strip()


def known_as_text(
    turns: Sequence[Turn],
    prompt: Callable[[], PromptRows],
    safe: int | None,
    known: Mapping[str, str],
) -> list[Turn]:
    """Return the turns with text in place of the sounds of `relayed` that were transcribed before.

    Arguments are those of `relayed`.
    """
    late = iter(_late(turns, prompt, safe))
    result = []
    for turn in turns:
        parts = tuple(
            TextPart(known[part.digest])
            if isinstance(part, SoundPart) and next(late) and part.digest in known
            else part
            for part in turn.parts
        )
        alike = all(map(operator.is_, parts, turn.parts))
        result.append(turn if alike else replace(turn, parts=parts))
    return result


def relayed(
    turns: Sequence[Turn],
    prompt: Callable[[], PromptRows],
    safe: int | None,
    transcriber: Transcriber,
    known: MutableMapping[str, str],
) -> Steps[list[Turn]]:
    """Transcribe the sounds that end after `safe`, each once.

    Args:
        prompt: renders the turns.
        safe: the row before which a sound is heard where it is; None if none is.
        known: what was understood of sounds, by their digests; new ones are added.

    Returns:
        The turns, with text in place of these sounds.
    """
    late = _late(turns, prompt, safe)
    for part, transcribed in zip(_sounds(turns), late, strict=True):
        if transcribed and part.digest not in known:
            known[part.digest] = yield from transcriber.transcribe_all([part])
    return known_as_text(turns, prompt, safe, known)


def _late(turns: Sequence[Turn], prompt: Callable[[], PromptRows], safe: int | None) -> list[bool]:
    """Whether each sound ends after `safe`."""
    sounds = _sounds(turns)
    if safe is None or not sounds:
        return [True] * len(sounds)
    frames = [row for row, held in enumerate(prompt().rows) if isinstance(held, bytes)]
    ends = accumulate(len(part.frames) for part in sounds)
    return [frames[end - 1] >= safe for end in ends]


def _sounds(turns: Sequence[Turn]) -> list[SoundPart]:
    return [part for turn in turns for part in turn.parts if isinstance(part, SoundPart)]
