from mlx_gemma4.events import Thought, Token
from mlx_gemma4.session.stops import StopTexts


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


def test_a_thought_is_not_looked_at_and_keeps_its_place() -> None:
    stops = StopTexts(["END"])
    held = stops.passed([Token("E", 1)])
    assert held == []
    assert stops.passed([Thought("END")]) == [Token("E", 1), Thought("END")]
