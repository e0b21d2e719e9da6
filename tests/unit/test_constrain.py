"""Replies that keep to a schema or have to call a tool."""

import json
from collections.abc import Sequence
from typing import Any

import jsonschema
import numpy as np
import pytest

from mlx_gemma4.chat.grammar import reply_grammar
from mlx_gemma4.chat.parser import ReplyParser
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Done, Event, Thought, Token, ToolCall
from mlx_gemma4.generation.constrain import GrammarTokenizer
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.session import Session
from tests.fixtures.schemas import SCHEMAS
from tests.unit.small_tokenizer import small_tokenizer

CHECK = jsonschema.FormatChecker(["date", "ipv4"])
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 10, "maximum": 99}},
    "required": ["age"],
    "additionalProperties": False,
}


def tool(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "description": "d", "parameters": parameters}
    return {"type": "function", "function": function}


FIND = {
    "type": "object",
    "properties": {
        "where": {"type": "string", "minLength": 1, "maxLength": 6},
        "when": {"type": "string", "pattern": "^[0-9]{2}:[0-5]0$"},
        "Kind": {"enum": ["a", 'with "quotes"', 3, None]},
        "deep": {"$ref": "#/$defs/node"},
        "limits": {"type": "array", "items": {"type": "number", "maximum": 9}, "maxItems": 2},
        "flag": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["where", "limits", "when"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        }
    },
}
TOOLS = [tool("find", FIND), tool("stop", {}), tool("free", {"type": "object"})]


class Drawer:
    """Draws allowed ids, each as likely as any other, as a model would that knows nothing."""

    def __init__(self) -> None:
        self.text: Tokenizer = small_tokenizer()
        self.ends = [self.text.controls["<turn|>"], self.text.controls["<eos>"]]
        self.width = self.text.vocab_size + 9  # logits may be wider than the vocabulary
        self._tokenizer = GrammarTokenizer(self.text, self.ends)

    def ids(self, grammar: str, seed: int, thinking: bool = False, most: int = 4000) -> list[int]:
        rng, drawn = np.random.default_rng(seed), list[int]()
        constraint = self._tokenizer.constraint(grammar, thinking, self.width)
        while not drawn or drawn[-1] not in self.ends:
            (allowed,) = np.nonzero(constraint.mask())
            drawn.append(int(rng.choice(allowed)))
            constraint.take(drawn[-1])
            assert len(drawn) < most, "it does not end"
        return drawn[:-1]

    def events(self, ids: Sequence[int]) -> list[Event]:
        parser = ReplyParser(self.text)
        return [*(event for one in ids for event in parser.add(one)), *parser.finish()]


@pytest.fixture(scope="module")
def drawer() -> Drawer:
    return Drawer()


def grammar_of(drawer: Drawer, schema: Any, tools: Any = (), must_call: Any = ()) -> str:
    grammar = reply_grammar(schema, tools, must_call, drawer.text.controls)
    assert grammar is not None
    return grammar


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_random_reply_is_valid_under_the_schema(drawer: Drawer, name: str) -> None:
    grammar, answers = grammar_of(drawer, SCHEMAS[name]), set[str]()
    for seed in range(25):
        answer = drawer.text.decode(drawer.ids(grammar, seed))
        jsonschema.validate(json.loads(answer), SCHEMAS[name], format_checker=CHECK)
        answers.add(answer)
    assert len(answers) > 3  # not always the same one


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_a_model_draws_at_temperature_1_is_valid_under_the_schema(
    model: Gemma4, name: str
) -> None:
    session = Session(model)
    session.add_text("go")
    *events, done = session.reply(temperature=1, seed=1, grammar=SCHEMAS[name])
    assert isinstance(done, Done) and done.reason == "stop"
    answer = "".join(event.text for event in events if isinstance(event, Token))
    jsonschema.validate(json.loads(answer), SCHEMAS[name], format_checker=CHECK)


def test_the_likeliest_reply_within_a_schema_is_drawn_at_temperature_0(model: Gemma4) -> None:
    replies = []
    for _ in range(2):
        session = Session(model)
        session.add_text("how old?")
        replies.append(list(session.reply(temperature=0, grammar=PERSON))[-1])
    assert isinstance(replies[0], Done) and isinstance(replies[1], Done)
    assert replies[0].ids == replies[1].ids and len(replies[0].ids) > 5
    assert session.context[0] == replies[1].stats["prompt_tokens"] + len(replies[1].ids)


def test_the_cache_goes_on_after_a_constrained_reply(model: Gemma4) -> None:
    session = Session(model)
    session.add_text("how old?")
    list(session.reply(temperature=0, grammar=PERSON))
    session.add_text("thanks")
    *_, done = session.reply(temperature=0, max_tokens=4)
    again = Session(model, turns=session.turns[:-2])
    again.add_text("thanks")
    *_, afresh = again.reply(temperature=0, max_tokens=4)
    assert isinstance(done, Done) and isinstance(afresh, Done)
    assert done.ids == afresh.ids
    assert done.stats["new_prompt_tokens"] < afresh.stats["new_prompt_tokens"]


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"not": {"type": "null"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"properties": {"if": {"type": "null"}, "a": {"if": {}, "then": {}}}}, "properties.a.if"),
        ({"items": {"anyOf": [{"type": "null"}, {"contains": {}}]}}, "items.anyOf.1.contains"),
        ({"$defs": {"x": {"pattern": "^(?=a)b$"}}, "$ref": "#/$defs/x"}, "$defs.x.pattern"),
        ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}, "oneOf"),
        ({"type": "text"}, "type"),
        ({"additionalProperties": {"$ref": "http://a/b"}}, "additionalProperties.$ref"),
        ({"enum": []}, ""),
        ([], ""),
        ({"default": {1, 2}}, ""),
        ({"description": "x" * 300_000}, ""),
    ],
)
def test_a_schema_that_cannot_be_kept_to_is_refused_with_the_place(
    model: Gemma4, schema: Any, param: str
) -> None:
    session = Session(model)
    session.add_text("go")
    with pytest.raises(Gemma4Error) as refused:
        session.reply(grammar=schema)
    assert refused.value.code == "grammar_unusable"
    assert refused.value.facts == {"param": param}


def test_a_deep_schema_is_refused(drawer: Drawer) -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(Gemma4Error, match="levels deep"):
        grammar_of(drawer, schema)


def test_an_object_has_the_properties_that_are_named_and_others_where_they_are_wanted(
    drawer: Drawer,
) -> None:
    named = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    more = {**named, "additionalProperties": {"type": "null"}, "maxProperties": 3}
    both = {"allOf": [named, {"properties": {"b": {"type": "null"}}, "required": ["b"]}],
            "maxProperties": 2}  # fmt: skip
    seen = {}
    for name, schema in (("named", named), ("more", more), ("both", both)):
        grammar, seen[name] = grammar_of(drawer, schema), set()
        for seed in range(12):
            answer = json.loads(drawer.text.decode(drawer.ids(grammar, seed)))
            jsonschema.validate(answer, schema)
            seen[name] |= set(answer) if isinstance(answer, dict) else set()
    assert seen["named"] == {"a"}
    assert len(seen["more"]) > 1
    assert seen["both"] >= {"a", "b"}


@pytest.mark.parametrize("must", [("find",), ("find", "stop"), ("stop",), ("free",)])
def test_a_reply_that_has_to_call_a_tool_does_so_by_its_schema(
    drawer: Drawer, must: tuple[str, ...]
) -> None:
    grammar = grammar_of(drawer, None, TOOLS, must)
    called = set()
    for seed in range(20):
        ids = drawer.ids(grammar, seed)
        calls = drawer.events(ids)
        assert calls and (len(calls) == 1 or len(must) > 1)
        for call in calls:
            assert isinstance(call, ToolCall) and call.name in must
            called.add(call.name)
            if call.name == "find":
                jsonschema.validate(call.arguments, FIND)
            elif call.name == "stop":
                assert call.arguments == {}
    assert called == {*must}


def test_a_reply_with_a_schema_and_tools_is_an_answer_or_calls(drawer: Drawer) -> None:
    grammar = grammar_of(drawer, PERSON, TOOLS)
    kinds = set()
    for seed in range(20):
        events = drawer.events(drawer.ids(grammar, seed))
        if isinstance(events[0], Token):
            answer = json.loads("".join(e.text for e in events if isinstance(e, Token)))
            jsonschema.validate(answer, PERSON)
        kinds.add(frozenset(map(type, events)))
    assert kinds == {frozenset({Token}), frozenset({ToolCall})}


def test_calls_of_a_strict_tool_keep_to_its_schema_in_a_reply_that_is_free(drawer: Drawer) -> None:
    strict = {"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}
    assert reply_grammar(None, TOOLS, (), drawer.text.controls) is None
    grammar = grammar_of(drawer, None, [strict, TOOLS[1]])
    kinds = set()
    for seed in range(40):
        events = drawer.events(drawer.ids(grammar, seed))
        called = [event for event in events if isinstance(event, ToolCall)]
        assert events[len(events) - len(called) :] == called
        for call in called:
            if call.name == "find":
                jsonschema.validate(call.arguments, FIND)
        kinds.add((len(events) > len(called), bool(called)))
    assert kinds >= {(True, False), (True, True)}
    first = drawer._tokenizer.constraint(grammar, False, drawer.width).mask()
    assert first[drawer.text.controls["<|tool_call>"]]


SOME = {"a": {"type": "integer", "minimum": 1, "maximum": 9}, "b": {"enum": ["x"]}}
NESTED = {"type": "object", "properties": SOME, "required": ["a"], "additionalProperties": False}


CLOSED = {"type": "object", "properties": SOME, "additionalProperties": False}
OTHER = {"properties": {"c": {"type": "boolean"}}, "required": ["c"]}
EITHER = [{"required": ["a"]}, {"required": ["b"]}]
IN_DEFS = {"$ref": "#/$defs/one"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": SOME, "anyOf": EITHER}, {**CLOSED, "anyOf": EITHER}),
        ({"properties": SOME, "oneOf": EITHER}, {**CLOSED, "anyOf": EITHER}),
        ({"properties": SOME, "allOf": EITHER}, {**CLOSED, "required": ["a", "b"]}),
        ({**CLOSED, "type": ["object", "null"], "nullable": True}, CLOSED),
        ({"anyOf": [NESTED, OTHER]}, {"anyOf": [NESTED, OTHER]}),
        ({**IN_DEFS, "$defs": {"one": NESTED}}, NESTED),
        ({"anyOf": [IN_DEFS], "$defs": {"one": NESTED}, "description": "d"}, NESTED),
        ({"$ref": "#", "properties": SOME, "required": ("b",)}, {**CLOSED, "required": ["b"]}),
        ({"const": {"a": 1}}, {"type": "object"}),
        ({"enum": [{"a": 1}, 5]}, {"type": "object"}),
        ({"anyOf": 5, "allOf": [], "$ref": {}, "required": True}, {"type": "object"}),
    ],
)
def test_the_arguments_of_a_call_are_an_object_whatever_else_the_schema_allows(
    drawer: Drawer, schema: dict[str, Any], expected: dict[str, Any]
) -> None:
    grammar = grammar_of(drawer, None, [tool("find", schema)], ["find"])
    found = set()
    for seed in range(25):
        (call,) = drawer.events(drawer.ids(grammar, seed))
        assert isinstance(call, ToolCall), call
        jsonschema.validate(call.arguments, expected)
        found.add(str(call.arguments))
    assert len(found) > 1


def test_a_format_that_is_no_text_is_left_out(drawer: Drawer) -> None:
    assert grammar_of(drawer, {"type": "string", "format": ["date"]})
    assert grammar_of(drawer, {"type": "string", "format": {"date": 1}})


def test_a_thought_may_come_first_and_is_free(drawer: Drawer) -> None:
    grammar = grammar_of(drawer, PERSON)
    thoughts = 0
    for seed in range(12):
        events = drawer.events(drawer.ids(grammar, seed, thinking=True))
        thoughts += isinstance(events[0], Thought)
        answer = "".join(e.text for e in events if isinstance(e, Token))
        jsonschema.validate(json.loads(answer), PERSON)
    assert 0 < thoughts < 12
    assert not any(
        isinstance(event, Thought)
        for seed in range(12)
        for event in drawer.events(drawer.ids(grammar, seed))
    )


def test_a_tool_that_has_to_be_called_must_be_declared(model: Gemma4) -> None:
    session = Session(model, tools=TOOLS)
    session.add_text("go")
    with pytest.raises(Gemma4Error, match="sleep") as refused:
        session.reply(must_call=("sleep",))
    assert refused.value.code == "tool_unknown"


def test_cancelling_a_constrained_reply_keeps_what_was_drawn(model: Gemma4) -> None:
    session = Session(model)
    session.add_text("go")
    reply = session.reply(temperature=0, grammar=PERSON)
    first = next(reply)
    reply.close()
    assert isinstance(first, Token)
    assert session.turns[-1].interrupted and len(session.turns[-1].ids) == 1
