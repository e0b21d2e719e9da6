from pathlib import Path

from mlx_gemma4.chat.messages import TextPart
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.events import Thought, Token
from mlx_gemma4.session.reply import DrawnReply
from mlx_gemma4.session.stops import StopTexts
from mlx_gemma4.testing.doubles import tiny_model


def passed(stops: StopTexts, *pieces: str) -> list[str]:
    result = []
    for piece in pieces:
        result += [event.text for event in stops.passed([Token(piece, 1)])]
    return [*result, *(event.text for event in stops.passed([], last=True))]


def test_a_text_is_found_however_tokens_cut_it() -> None:
    for pieces in (["one END two"], ["one E", "N", "D two"], ["one ", "END"], [*"one END two"]):
        stops = StopTexts(["END"])
        assert "".join(passed(stops, *pieces)) == "one "
        assert stops.found


def test_what_only_begins_like_it_is_passed_on_at_last() -> None:
    stops = StopTexts(["END"])
    assert passed(stops, "an E", "N", "gine", " E") == ["an ", "ENgine", " ", "E"]
    assert not stops.found


def test_the_text_that_comes_first_ends_it() -> None:
    stops = StopTexts(["two", "one"])
    assert passed(stops, "zero one two") == ["zero "]


def test_ids_of_what_is_held_back_when_a_reply_is_left_are_not_kept() -> None:
    tokenizer = Tokenizer.from_folder(Path(__file__).parents[2] / "assets" / "tiny")
    config = tiny_model().config
    for stop, seen, kept in (("so", "a ", False), ("no", "a s", True)):
        reply = DrawnReply(tokenizer, config, stop=[stop])
        events = reply.take(tokenizer.encode("a see"))  # "a", " s", "ee"
        for expected in ("a", seen[1:]):
            event = next(events)
            assert isinstance(event, Token) and event.text == expected
        events.close()
        turn = reply.turn(interrupted=True)
        assert turn.parts == (TextPart(seen),) and bool(turn.ids) == kept


def test_a_thought_is_not_looked_at_and_keeps_its_place() -> None:
    stops = StopTexts(["END"])
    held = stops.passed([Token("E", 1)])
    assert held == []
    assert stops.passed([Thought("END")]) == [Token("E", 1), Thought("END")]
