"""The shipped model reads, hears and answers: what `make demo` promises."""

from pathlib import Path

import pytest

import mlx_gemma4 as g4
from mlx_gemma4.cli import main
from mlx_gemma4.media.audio import open_sound
from tools import demo_turns

ASSETS = Path(__file__).resolve().parents[1] / "assets"
RECEIPT, DEMO = ASSETS / "demo" / "receipt.png", ASSETS / "demo"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["what is the total?", "--image", RECEIPT], "19.56"),
        (["--audio", DEMO / "digits.wav"], "40715"),
        (["--audio", DEMO / "command.wav"], "turn on the heater in the office"),
        (["--image", RECEIPT, "--audio", DEMO / "question.wav"], "19.56"),
        (["how much did I pay?", "--image", DEMO / "dark.png"], "7.33"),
        (["which day was it", "--image", RECEIPT, "--image-tokens", "140"], "2026-06-12"),
    ],
)
def test_the_demonstration_is_answered_right(
    arguments: list[object], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", *map(str, arguments)]) == 0
    assert capsys.readouterr().out.strip() == answer


def test_a_spoken_follow_up_is_answered_in_the_demonstrations_conversation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    demo_turns.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1::2] == ["OAKLANE", "3.26", "4", "That is not in the picture."]


@pytest.mark.parametrize("name", ["tiny", "tiny-4bit"])
def test_a_picture_is_remembered_over_typed_and_spoken_turns(name: str) -> None:
    session = g4.Session(g4.load(ASSETS / name))
    session.add_image(RECEIPT)
    session.add_text("what is the tax")
    assert _answer(session) == "3.26"
    session.add_audio(open_sound(DEMO / "question.wav"), 16_000)
    assert _answer(session) == "19.56"
    session.add_text("How many items are there?")
    assert _answer(session) == "4"


def _answer(session: g4.Session) -> str:
    return "".join(e.text for e in session.reply(40) if isinstance(e, g4.Token))
