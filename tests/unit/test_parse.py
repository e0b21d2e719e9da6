import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.chat.parser import ReplyParser
from mlx_gemma4.chat.tokenizer import CONTROLS
from mlx_gemma4.chat.tools import call
from mlx_gemma4.events import Event, Thought, Token, ToolCall
from tests.unit.small_tokenizer import small_tokenizer

TOKENIZER = small_tokenizer()


def ids_of(written: str, cuts: random.Random | None = None) -> list[int]:
    """Ids of a reply; with `cuts` its text is tokenized in random pieces, as a model may do."""
    ids = []
    for index, piece in enumerate(TOKENIZER.split(written)):
        if index % 2:
            ids.append(TOKENIZER.token_id(piece))
            continue
        at = sorted(cuts.sample(range(len(piece) + 1), cuts.randint(0, len(piece)))) if cuts else []
        for start, end in zip([0, *at], [*at, len(piece)], strict=True):
            ids += TOKENIZER.encode(piece[start:end])
    return ids


def parsed(ids: list[int]) -> list[Event]:
    """The events of a reply, neighbours of one kind put together."""
    parser = ReplyParser(TOKENIZER)
    events = [event for token_id in ids for event in parser.add(token_id)] + parser.finish()
    together: list[Event] = []
    for event in events:
        last = together[-1] if together else None
        if isinstance(event, Token):
            event = Token(event.text, 0)
        if isinstance(event, Token | Thought) and type(last) is type(event):
            event = type(event)(last.text + event.text, *([0] if isinstance(event, Token) else []))
            together.pop()
        together.append(event)
    return together


def test_an_answer_is_tokens_with_their_ids() -> None:
    parser = ReplyParser(TOKENIZER)
    ids = TOKENIZER.encode("user é🦙")
    events = [event for token_id in ids for event in parser.add(token_id)]
    assert "".join(event.text for event in events) == "user é🦙"
    assert [event.id for event in events] == [*ids[:3], ids[-1]]
    assert parser.finish() == []


def test_a_thought_is_told_from_the_answer() -> None:
    events = parsed(ids_of("<|channel>thought\nhm, 2\n<channel|>Two.<turn|>"))
    assert events == [Thought("hm, 2\n"), Token("Two.", 0)]


def test_an_empty_thought_is_no_event() -> None:
    assert parsed(ids_of("<|channel>thought\n<channel|>Yes")) == [Token("Yes", 0)]
    assert parsed(ids_of("<|channel>thought<channel|>Yes")) == [Token("Yes", 0)]


def test_a_channel_without_a_header_is_all_thought() -> None:
    assert parsed(ids_of("<|channel>though so<channel|>x")) == [Thought("though so"), Token("x", 0)]


def test_thoughts_come_while_they_are_thought() -> None:
    parser = ReplyParser(TOKENIZER)
    early = [
        event for token_id in ids_of("<|channel>thought\nab") for event in parser.add(token_id)
    ]
    assert early == [Thought("a"), Thought("b")]


def test_a_call_has_values_of_every_kind() -> None:
    written = (
        '<|tool_call>call:a.b-c{s:<|"|>x{y}, "z": [\\n\n]<|"|>,i:-3,f:1.5e3,t:true,n:null,'
        'e:{},l:[1,<|"|>2<|"|>,[false]],o:{ p q : {k_1:<|"|><|"|>}},<|"|>q:{<|"|>:1}<tool_call|>'
    )
    arguments = {
        "s": 'x{y}, "z": [\\n\n]',
        "i": -3,
        "f": 1500.0,
        "t": True,
        "n": None,
        "e": {},
        "l": [1, "2", [False]],
        "o": {"p q": {"k_1": ""}},
        "q:{": 1,
    }
    assert parsed(ids_of(written)) == [ToolCall("", "a.b-c", arguments)]


def test_several_calls_come_between_text_in_order() -> None:
    written = "Let me<|tool_call>call:f{}<tool_call|><|tool_call>call:g{a:1}<tool_call|>"
    assert parsed(ids_of(written)) == [
        Token("Let me", 0),
        ToolCall("", "f", {}),
        ToolCall("", "g", {"a": 1}),
    ]


@pytest.mark.parametrize(
    "inner, text",
    [
        ("call:f{a:", "call:f{a:"),
        ('call:f{a:<|"|>x', 'call:f{a:"x'),
        ("f{a:1}", "f{a:1}"),
        ("call:f{a:1", "call:f{a:1"),
        ("call:f{a:b}", "call:f{a:b}"),
        ("call:f{a:1}}", "call:f{a:1}}"),
        ('call:f{a:<|"|>x}', 'call:f{a:"x}'),
        ("call:f{a:NaN}", "call:f{a:NaN}"),
        ("call:f{a:[-Infinity]}", "call:f{a:[-Infinity]}"),
        ("call:f{a:1e999}", "call:f{a:1e999}"),
        ("call:f" + "{a:" * 100 + "1" + "}" * 100, "call:f" + "{a:" * 100 + "1" + "}" * 100),
        ("call:f{a:" + "[" * 20_000 + "}", "call:f{a:" + "[" * 20_000 + "}"),
    ],
)
@pytest.mark.parametrize("end", ["<tool_call|>", "<turn|>", ""])
def test_a_call_that_cannot_be_carried_out_is_text(inner: str, text: str, end: str) -> None:
    assert parsed(ids_of(f"a<|tool_call>{inner}{end}")) == [Token("a" + text, 0)]


def test_a_whole_call_without_its_end_is_not_carried_out() -> None:
    assert parsed(ids_of("<|tool_call>call:f{}")) == [Token("call:f{}", 0)]
    assert parsed(ids_of("<|tool_call>call:f{}<turn|>")) == [Token("call:f{}", 0)]


def test_a_call_ends_a_thought_and_a_thought_ends_a_call() -> None:
    events = parsed(ids_of("<|channel>thought\na<|tool_call>call:f{}<tool_call|>b"))
    assert events == [Thought("a"), ToolCall("", "f", {}), Token("b", 0)]
    events = parsed(ids_of("<|tool_call>call:f{<|channel>thought\na<channel|>b"))
    assert events == [Token("call:f{", 0), Thought("a"), Token("b", 0)]


def test_what_is_left_at_the_end_carries_the_last_id() -> None:
    parser = ReplyParser(TOKENIZER)
    first = TOKENIZER.token_id("<0xF0>")
    assert parser.add(first) == []
    assert parser.finish() == [Token("\ufffd", first)]


def test_spelled_out_control_tokens_are_text() -> None:
    ids = TOKENIZER.encode("<|channel>thought\n<|tool_call>")
    assert parsed(ids) == [Token("<|channel>thought\n<|tool_call>", 0)]


REPLIES = st.lists(st.sampled_from([*CONTROLS, "thought\n", "call:f{a:", "}"]) | st.text()).map(
    "".join
)


@settings(deadline=None)
@given(REPLIES, st.randoms(use_true_random=False))
def test_however_the_text_is_tokenized_the_events_are_the_same(
    written: str, cuts: random.Random
) -> None:
    assert parsed(ids_of(written, cuts)) == parsed(ids_of(written))


@settings(deadline=None)
@given(st.lists(st.sampled_from(CONTROLS) | st.sampled_from("ab {}:,"), max_size=20))
def test_no_reply_leaks_a_control_token(names: list[str]) -> None:
    ids = [TOKENIZER.token_id("▁" if name == " " else name) for name in names]
    texts = [event.text for event in parsed(ids) if isinstance(event, Token | Thought)]
    assert not any("<" in text or ">" in text for text in texts)


WORDS = st.text('ab_0é{}[]:,"\\\n 🦙', max_size=6)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text("ab_0é", min_size=1, max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_call_as_we_write_it_is_read_back(arguments: dict[str, object]) -> None:
    assert parsed(ids_of(call(ToolCall("", "f", arguments)))) == [ToolCall("", "f", arguments)]
