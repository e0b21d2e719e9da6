"""Sounds of earlier turns that the model would hear badly where they are, as text.

A client sends the whole conversation each time, so a sound that was relayed comes back as a sound:
it becomes the same text as before, and its rows are found.
"""

import operator
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace

from ..chat.messages import Part, SoundPart, TextPart, Turn
from ..generation.prefill_decode import Steps
from .rows import PromptRows
from .transcriber import Transcriber


def has_sound(turns: Sequence[Turn]) -> bool:
    return any(isinstance(part, SoundPart) for turn in turns for part in turn.parts)


def heard_in(turn: Turn, known: Mapping[str, str]) -> str:
    """What was understood of a turn's sounds."""
    texts = [known.get(part.digest, "") for part in turn.parts if isinstance(part, SoundPart)]
    return " ".join(texts).strip()


def known_as_text(turns: Sequence[Turn], known: Mapping[str, str]) -> list[Turn]:
    """Return the turns with text in place of the sounds that were transcribed before."""
    return [
        replace(
            turn,
            parts=tuple(
                TextPart(known[part.digest])
                if isinstance(part, SoundPart) and part.digest in known
                else part
                for part in turn.parts
            ),
        )
        if known and has_sound([turn])
        else turn
        for turn in turns
    ]


def relayed(
    turns: Sequence[Turn],
    prompt: PromptRows,
    safe: int | None,
    transcriber: Transcriber,
    known: MutableMapping[str, str],
) -> Steps[list[Turn]]:
    """Transcribe the sounds that end after `safe`, each once.

    Args:
        safe: the row before which a sound is heard where it is; None if none is.
        known: what was understood of sounds, by their digests; new ones are added.

    Returns:
        The turns, with text in place of these sounds.
    """
    frames = [row for row, held in enumerate(prompt.rows) if isinstance(held, bytes)]
    passed, result = 0, []
    for turn in turns:
        parts: list[Part] = []
        for part in turn.parts:
            if isinstance(part, SoundPart):
                passed += len(part.frames)
                if safe is None or frames[passed - 1] >= safe:
                    if part.digest not in known:
                        known[part.digest] = yield from transcriber.transcribe_all([part])
                    part = TextPart(known[part.digest])
            parts.append(part)
        alike = all(map(operator.is_, parts, turn.parts))
        result.append(turn if alike else replace(turn, parts=tuple(parts)))
    return result
