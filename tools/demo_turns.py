"""A conversation of four turns with the tiny model: `python -m tools.demo_turns`.

A receipt and a typed question, a spoken one about the same picture, and two more typed ones, of
which the picture does not answer the last.
"""

from pathlib import Path

import mlx_gemma4 as g4
from mlx_gemma4.media.audio import open_sound

ASSETS = Path(__file__).resolve().parent.parent / "assets"


def main() -> None:
    """Ask, and print questions and answers."""
    session = g4.Session(g4.load(ASSETS / "tiny"))
    session.add_image(ASSETS / "demo" / "receipt.png")
    session.add_text("which shop is it?")
    _answer(session, "[receipt.png] which shop is it?")
    session.add_audio(open_sound(ASSETS / "demo" / "follow-up.wav"), 16_000)
    _answer(session, "[follow-up.wav: a voice asks what the tax is]")
    for question in ("how many items are there?", "which city is it?"):
        session.add_text(question)
        _answer(session, question)


def _answer(session: g4.Session, asked: str) -> None:
    reply = "".join(event.text for event in session.reply(40) if isinstance(event, g4.Token))
    print(f"> {asked}\n{reply}")


if __name__ == "__main__":
    main()
