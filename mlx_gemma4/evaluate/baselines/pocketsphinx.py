"""PocketSphinx as a rival: CMU's recognizer of 2006, with the US English model inside its package.

It writes down English of a large vocabulary, and is told nothing of what may be said. Without an
energy gate it hears words in noise; that is its own default.
"""

from collections.abc import Mapping
from typing import Any

from ..surroundings import versions
from .serve import Absent, Answer, serve
from .waves import pcm


def begin(_: str) -> tuple[Mapping[str, Any], Answer]:
    """Load its own model."""
    try:
        from pocketsphinx import Decoder
    except ModuleNotFoundError as error:
        raise Absent.package(error, "pocketsphinx") from error
    decoder = Decoder(loglevel="FATAL")

    def answer(asked: Mapping[str, Any]) -> str:
        return " ".join(filter(None, (_heard(decoder, file) for file in asked["sounds"])))

    installed = versions(("pocketsphinx",))
    return {"revision": installed["pocketsphinx"], "versions": installed}, answer


def _heard(decoder: Any, file: str) -> str:
    decoder.start_utt()
    decoder.process_raw(pcm(file), full_utt=True)  # levelled by itself, not by what came before
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


if __name__ == "__main__":
    serve(begin)
