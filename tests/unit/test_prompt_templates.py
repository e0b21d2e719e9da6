"""A checkpoint's own template: what it loses is found, and what it does is bounded."""

import tracemalloc

import pytest

from mlx_gemma4.chat.checkpoint_template import Findings, findings, template_text
from mlx_gemma4.chat.messages import (
    ToolResult,
)
from mlx_gemma4.chat.render import render
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import ToolCall
from tests.unit.small_tokenizer import small_tokenizer
from tests.unit.test_prompt import CONFIG, CONVERSATIONS, TEMPLATE, TOKENIZER, spelled, turn

# A template that loses nothing: Google's for larger models, without what it is known to lose.
WHOLE = (
    TEMPLATE.replace("['description', 'type', 'properties', 'required', 'nullable']", "[]")
    .replace("not (ns_tr_out.flag and not message.get('content'))", "not ns_tr_out.flag")
    .replace("{{- '<|channel>thought\\n<channel|>' -}}", "")
)


def test_a_template_beside_the_tokenizer_is_used_where_it_loses_nothing() -> None:
    assert findings(WHOLE) == Findings()
    marked = WHOLE.replace("{{- bos_token -}}", "{{- bos_token -}}marked")
    made = spelled(render(CONVERSATIONS["turns"], small_tokenizer(marked), CONFIG))
    assert made.startswith("<bos>marked<|turn>user\na<turn|>")


def test_what_googles_template_loses_is_found() -> None:
    found = findings(TEMPLATE)
    assert found.empty_thought
    faults = " ".join(found.faults)
    assert "starts otherwise than it was opened" in faults
    assert "parameters named description, type, properties, required, nullable" in faults
    assert "the model's turn is closed" in faults


@pytest.mark.parametrize(
    "change, fault",
    [
        (("[]", "['type']"), "It loses parameters named type."),
        (("not ns_tr_out.flag", "true"), "After a text, a call and its result"),
        (("'<|tool_call>call:'", "'<|tool_call>'"), "It loses calls."),
        (("in message['tool_calls']", "in message['tool_calls'][:1]"), "It loses calls."),
        (
            ("in message['tool_responses']", "in message['tool_responses'][:1]"),
            "It loses what a tool returned.",
        ),
        (("'<|image|>'", "''"), "It loses a system text, or pictures"),
        (("message['content'] is string", "true"), "It loses a system text, or pictures"),
        (("for tool in tools", "for tool in []"), "It loses parameters named city"),
    ],
)
def test_each_loss_is_found_alone(change: tuple[str, str], fault: str) -> None:
    assert any(found.startswith(fault) for found in findings(WHOLE.replace(*change)).faults)


NAMES = ("description", "type", "properties", "required", "nullable")

ODD = {
    "type": "function",
    "function": {
        "name": "odd",
        "description": "Odd",
        "parameters": {"type": "object", "properties": {n: {"type": "string"} for n in NAMES}},
    },
}


def test_parameters_calls_and_the_open_turn_stay_with_a_template_that_loses_them() -> None:
    tokenizer = small_tokenizer(TEMPLATE)
    turns = [
        turn("user", "a"),
        turn("model", "let me see", ToolCall("call_1", "odd", {"type": "x"})),
        turn("tool", ToolResult("odd", "y")),
    ]
    made = spelled(render(turns, tokenizer, CONFIG, tools=[ODD]))
    for name in NAMES:
        assert f'{name}:{{type:<|"|>STRING<|"|>}}' in made
    assert 'let me see<|tool_call>call:odd{type:<|"|>x<|"|>}<tool_call|>' in made
    assert made.endswith('<|tool_response>response:odd{value:<|"|>y<|"|>}<tool_response|>')


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("template", [None, TEMPLATE, WHOLE])
@pytest.mark.parametrize("tools", [(), (ODD,)])
def test_a_history_begins_with_the_prompt_that_its_last_reply_followed(
    template: str | None, thinking: bool, tools: tuple[object, ...]
) -> None:
    tokenizer = small_tokenizer(template)
    turns = [turn("user", "a"), turn("model", "b"), turn("user", "c")]
    options = {"thinking": thinking, "tools": tools}
    opened = render(turns, tokenizer, CONFIG, **options).token_ids
    history = [*turns, turn("model", "X"), turn("user", "d")]
    later = render(history, tokenizer, CONFIG, **options).token_ids
    assert later[: len(opened)] == opened
    assert later[len(opened)] == tokenizer.encode("X")[0]
    opening = "<|turn>model\n"
    if template == TEMPLATE and not thinking:
        opening += "<|channel>thought\n<channel|>"
    assert spelled(render(turns, tokenizer, CONFIG, **options)).endswith(opening)


ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(x='a') %}{% for a in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling by +": "{% set n = namespace(x='a') %}{% for a in range(60) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling by a block": "{% set n = namespace(x='a') %}{% for a in range(60) %}"
    "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
    "lists in lists": "{% set n = namespace(x=[1]) %}{% for a in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "a wide indent": "{{ 'a\nb' | indent(10**7) }}",
    "a wide centre": "{{ 'a' | center(10**9) }}",
    "a wide method": "{{ 'a'.ljust(10**9) }}",
    "a long repetition": "{{ 'a' * 10**9 }}",
    "a wide format": "{{ '%999999999d' % 1 }}",
    "a wide format by a method": "{{ '{:999999999}'.format(1) }}",
    "a power": "{{ 9**9**9**9 }}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "a join": "{{ range(99999)|join('a'*9999) }}",
    "a join of long texts": "{{ (['a'*60000]*60000)|join }}",
    "a join of long texts by a method": "{{ ''.join(['a'*60000]*60000) }}",
    "a key of keys": "{% set n = namespace(x=(1,)) %}{% for a in range(60) %}"
    "{% set n.x = (n.x, n.x) %}{% endfor %}{{ {n.x: 1} }}",
    "objects in objects": "{% set n = namespace(x={}) %}{% for a in range(60) %}"
    "{% set n.x = {1: n.x, 2: n.x} %}{% endfor %}{{ n.x == n.x | tojson }}",
    "a replacement": "{{ ('a'*99999).replace('a','b'*9999) }}",
    "spaces in spaces": "{% set n = namespace(x=1) %}{% for a in range(60) %}"
    "{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}{{ n }}",
    "arguments in arguments": "{% macro m() %}{% set n.x = varargs %}{% endmacro %}"
    "{% set n = namespace(x=1) %}{% for a in range(60) %}{{ m(n.x, n.x) }}{% endfor %}"
    "{{ {n.x: 1} }}",
    "a loop that calls itself": "{% for a in range(99999) recursive %}{% if loop.depth == 1 %}"
    "{{ loop(range(99999)) }}{% endif %}{% endfor %}",
    "searching": "{% set y = 'a'*4000000 %}{% for a in range(99999) %}{{ 'ab' in y }}{% endfor %}",
    "searching by a method": "{% set y = 'a'*4000000 %}{% for a in range(9999) %}"
    "{% set z = y.find('ab') %}{% endfor %}",
    "comparing": "{% set y = 'a'*4000000 %}{% set z = y ~ '' %}"
    "{{ ([y]*99999).count(z) }}{{ ([y]*99999)|select('eq', z)|list|length }}",
    "sorting": "{% set y = 'a'*1000000 %}{{ ([y, y ~ '']*20000)|select|sort|length }}",
    "cutting": "{% set y = 'a'*4000000 %}{% for a in range(99999) %}"
    "{% set z = y[1:] %}{% endfor %}",
    "stripping": "{{ ('a'*1000000).strip('b'*1000000 ~ 'a') }}",
    "keys": "{% set k = dict.fromkeys(range(99999)).keys() %}{% for a in range(99999) %}"
    "{% set z = k - k %}{% endfor %}",
    "a change of what it is given": "{{ dict.update(messages[0], {'content': 'b'}) }}",
    "its size": "x" * 300_000,
}


# What would take gigabytes before it is refused.
LARGE = {
    "a text many times in a list": "{{ ['a'*60000]*9999 }}",
    "a list as a text": "{{ (['a'*60000]*9999)|string }}",
    "a list in capitals": "{{ (['a'*60000]*9999)|upper }}",
    "a list as JSON": "{{ (['a'*60000]*9999)|tojson }}",
    "a list joined to a text": "{{ 'x' ~ ['a'*60000]*9999 }}",
    "a list that is filled up": "{{ range(3)|batch(9999,'a'*60000)|list|string }}",
    "a format of a list": "{{ '%s' % (['a'*60000]*9999) }}",
    "a format of many": "{{ ('%s'*9999) % (('a'*60000,)*9999) }}",
    "a format of one many times": "{{ ('%(x)s'*9999) % {'x': 'a'*60000} }}",
    "many wide formats": "{{ ('%9999d'*60000) % ((1,)*60000) }}",
    "a format by a filter": "{{ ('%(x)s'*9999)|format(x='a'*60000) }}",
    "a format by a test": "{{ '%999999999d' is odd }}",
    "a format by a test of many": "{{ ['%999999999d']|select('divisibleby', 2)|list }}",
    "a join of numbers": "{{ range(99999)|list|join('a'*60000) }}",
    "a join of what is made late": "{{ ('a'*60000).join(range(9999)|map('string')) }}",
    "a join of attributes": "{% set n = namespace(x='a'*60000) %}"
    "{{ ([n]*9999)|join(attribute='x') }}",
    "wrapped words": "{{ ('a '*60000)|wordwrap(1, true, 'b'*9999) }}",
    "links": "{{ ('http://a.bc '*5000)|urlize(rel='x'*9999) }}",
    "an indent of other lines": "{{ ('a\\r'*60000)|indent('b'*9999) }}",
    "a wide indent of JSON": "{{ ([1]*99999)|tojson(indent=9999) }}",
    "a replacement by names": "{{ ('a'*99999)|replace(new='b'*9999, old='a') }}",
    "a replacement of a number": "{{ ('1'*99999)|replace(1, 'b'*9999) }}",
    "a replacement in a list": "{{ ['a'*99999]|replace('a', 'b'*9999) }}",
    "bytes": "{{ ('a'*99999).encode() }}",
    "bytes of a number": "{{ (1).to_bytes(10**9, 'big') }}",
    "views": "{% set d = {1: 'a'*99999} %}{% for a in range(9999) %}{{ d.values() }}{% endfor %}",
    "its own text": f"{{% for a in range(99999) %}}{'x' * 99_999}{{% endfor %}}",
    "its own text in a block": "{% set y %}{% for a in range(99999) %}"
    f"{'x' * 99_999}{{% endfor %}}{{% endset %}}",
    "a constant": f"{{% for a in range(99999) %}}{{{{ '{'x' * 99_999}' }}}}{{% endfor %}}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_a_template_does_is_bounded(name: str) -> None:
    with pytest.raises(Gemma4Error) as caught:
        render([turn("user", "hi")], TOKENIZER, CONFIG, template="<|turn>" + ENDLESS[name])
    assert caught.value.code == "template_failed"
    assert len(caught.value.cause) < 400


@pytest.mark.parametrize("name", LARGE)
def test_what_a_template_makes_is_bounded_before_it_is_made(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Gemma4Error) as caught:
            template_text("<|turn>" + LARGE[name], [turn("user", "hi")])
        assert tracemalloc.get_traced_memory()[1] < 200e6  # bytes, at the most
    finally:
        tracemalloc.stop()
    assert caught.value.code == "template_failed"


# What the templates of other models do, each message looking at all.
LOOKING_BACK = """{% set rest = messages[1:] %}{% for m in messages %}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif -%}
{{ '<|turn>' + m['role'] + '\n' + m['content']|trim + '<turn|>' -}}
{% if loop.index0 == messages|length - 1 %}{{ 'last' }}{% endif -%}
{% if messages|selectattr('role', 'equalto', 'tool')|list|length %}{{ 'tool' }}{% endif -%}
{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\n') }}{% endif -%}
{% if m == messages[-1] %}{{ messages|map(attribute='role')|join(' ')|length }}{% endif -%}
{% endfor %}"""


@pytest.mark.parametrize("template", [TEMPLATE, LOOKING_BACK])
def test_a_long_conversation_is_rendered_by_a_template_that_looks_back(template: str) -> None:
    words = "word " * 300
    turns = [turn(("user", "model")[n % 2], f"<{n}>{words}") for n in range(401)]
    text = template_text(template, turns)
    assert all(f"<{n}>{words.strip()}" in text for n in range(401))


def test_a_template_writes_what_jinja_writes() -> None:
    source = """<|turn>{{ [1, 'a', none, {'b': (2.5, true)}] }} {{ 'a-b'|replace('-', '+') }}
{{ {'x': ['é', 1]}|tojson }} {{ [{'x': 1}, {'x': 2}]|join(', ', attribute='x') }} {{ nothing }}
{{ [3, 1, 2]|sort|join('<') }} {{ '%s %05.1f %%' % ('a', 2) }} {{ '%(k)s'|format(k=1) }}
{% autoescape true %}<b>{{ '<i>' }}{{ '<u>'|safe }}</b>{% endautoescape %} {{ 'a b'|title }}
{{ {'x': [1]}|tojson(indent=2) }} {% for a in [[1, [2]]] recursive %}{{ loop(a) if a is iterable
else a }}{% endfor %} {{ 'x'.join(['a', 'b']) }} {{ 'a\nb'|indent(2) }} {{ [1, 2, 3][1:] }}"""
    expected = """<|turn>[1, 'a', None, {'b': (2.5, True)}] a+b
{"x": ["é", 1]} 1, 2 \n1<2<3 a 002.0 % 1
<b>&lt;i&gt;<u></b> A B
{
  "x": [
    1
  ]
} 12 axb a\n  b [2, 3]"""
    assert template_text(source, [turn("user", "a")]) == expected


@pytest.mark.parametrize(
    "parameters",
    [7, ["x"], {"properties": 7}, {"properties": {"x": 7}}, {"properties": {7: {}}}],
)
def test_a_tool_whose_parameters_are_no_schema_is_an_error(parameters: object) -> None:
    tool = {"function": {"name": "x", "parameters": parameters}}
    with pytest.raises(Gemma4Error, match="The tool is malformed"):
        render([turn("user", "a")], TOKENIZER, CONFIG, tools=[tool])


@pytest.mark.parametrize(
    "template, cause",
    [
        ("{{ bos_token }}<start_of_turn>user\n{{ messages[0].content }}", "<start_of_turn>"),
        ("{{ messages[0].content.nothing.more }}", "UndefinedError"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ raise_exception('no tools here') }}", "no tools here"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("<|turn>user\n{{ messages[0].content }}<|image|><turn|>", "must write 0 placeholders"),
    ],
)
def test_a_template_that_fails_or_is_not_gemma_4s_is_an_error(template: str, cause: str) -> None:
    with pytest.raises(Gemma4Error) as caught:
        render([turn("user", "hi")], TOKENIZER, CONFIG, template=template)
    assert "template" in caught.value.title
    assert cause in caught.value.cause
    assert caught.value.remedy
