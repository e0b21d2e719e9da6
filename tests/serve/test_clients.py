"""Published clients against the server with the tiny model."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel, Field

from .serving import DIGITS, RECEIPT, base64_of, picture, text

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
COLD = {"temperature": 0}  # the client has no such argument any more
ASK = "what is the total?"


class Receipt(BaseModel):
    total: str = Field(pattern=r"^[0-9]{1,3}\.[0-9]{2}$")
    kind: Literal["shop", "cafe"]


@pytest.fixture(scope="module")
def client(server: httpx2.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def claude(server: httpx2.Client) -> Iterator[anthropic.Anthropic]:
    base = str(server.base_url)
    with anthropic.Anthropic(base_url=base, api_key="none", max_retries=0) as made:
        yield made


def receipt() -> dict[str, Any]:
    url = picture()["image_url"]["url"]
    return {"type": "input_image", "image_url": url, "detail": "auto"}


def asked(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def test_openai_reads_a_receipt_in_a_response(client: openai.OpenAI) -> None:
    words = {"type": "input_text", "text": ASK}
    answer = client.responses.create(model="m", input=asked(words, receipt()), temperature=0)
    assert answer.output_text == "19.56"
    assert answer.status == "completed"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_openai_streams_a_response_whose_events_have_an_order(client: openai.OpenAI) -> None:
    words = {"type": "input_text", "text": ASK}
    stream = client.responses.create(
        model="m", input=asked(words, receipt()), temperature=0, stream=True
    )
    events = list(stream)
    kinds = [event.type for event in events if not event.type.endswith("text.delta")]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output_text == "19.56"


def test_openai_parses_a_response_by_a_schema(client: openai.OpenAI) -> None:
    words = {"type": "input_text", "text": ASK}
    answer = client.responses.parse(
        model="m", input=asked(words, receipt()), text_format=Receipt, temperature=0
    )
    assert isinstance(answer.output_parsed, Receipt)
    assert answer.output_parsed.total == "19.56"


def test_openai_parses_a_chat_by_a_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="m",
        messages=asked(text(ASK), picture()),
        response_format=Receipt,
        temperature=1,
        seed=4,
    )
    assert isinstance(answer.choices[0].message.parsed, Receipt)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_a_response_that_has_to_call_a_tool_calls_it_and_goes_on(
    client: openai.OpenAI, choice: Any
) -> None:
    tool = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
    given: list[Any] = [{"role": "user", "content": "rain?"}]
    stream = client.responses.create(
        model="m", input=given, tools=[tool], tool_choice=choice, temperature=0, stream=True,
        parallel_tool_calls=False,
    )  # fmt: skip
    events = list(stream)
    done = events[-1].response
    (call,) = done.output
    assert call.type == "function_call" and call.name == "weather"
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call.arguments
    assert set(json.loads(call.arguments)) == {"city"}
    given += done.to_dict()["output"]
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": "sun"})
    answer = client.responses.create(
        model="m", input=given, tools=[tool], temperature=0, max_output_tokens=16
    )
    assert answer.output[0].type == "message"
    assert answer.usage.input_tokens > done.usage.input_tokens


def test_what_a_response_cannot_do_is_refused_with_the_field(client: openai.OpenAI) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"tools": [{"type": "computer"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
         "input[0].content[0].type"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"not": {}}}}},
         "text.format.schema.not"),
    ]  # fmt: skip
    for fields, param in cases:
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**{"model": "m", "input": "hi", **fields})
        assert refused.value.body["param"] == param


def test_a_schema_that_cannot_be_kept_to_is_refused_with_its_place(client: openai.OpenAI) -> None:
    schema = {"properties": {"a": {"type": "array", "uniqueItems": True}}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        )
    place = "response_format.json_schema.schema.properties.a.uniqueItems"
    assert refused.value.body["param"] == place
    assert refused.value.code == "grammar_unusable"


def test_openai_transcribes(client: openai.OpenAI) -> None:
    with DIGITS.open("rb") as file:
        assert client.audio.transcriptions.create(model="m", file=file).text == "40715"
    with DIGITS.open("rb") as file:
        told = client.audio.transcriptions.create(
            model="m", file=file, response_format="verbose_json"
        )
    (segment,) = told.segments
    assert (told.text, segment.text, segment.start) == ("40715", "40715", 0)
    assert segment.end == pytest.approx(told.duration) == pytest.approx(2.5, abs=1.5)
    with DIGITS.open("rb") as file:
        text = client.audio.transcriptions.create(model="m", file=file, response_format="text")
    assert text.strip() == "40715"


def test_a_transcription_without_a_sound_is_refused(client: openai.OpenAI) -> None:
    for fields, param in (
        ({"file": ("a.wav", b"no sound")}, "file"),
        ({"file": ("a.wav", b"")}, "file"),
        ({"file": DIGITS.open("rb"), "response_format": "xml"}, "response_format"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(model="m", **fields)
        assert refused.value.body["param"] == param


def test_a_form_that_is_none_is_refused(server: httpx2.Client) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = server.post("/v1/audio/transcriptions", content=b"junk", headers=kind)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


def image_block() -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": base64_of(RECEIPT)}
    return {"type": "image", "source": source}


def test_anthropic_reads_a_receipt(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(
        model="m", max_tokens=20, messages=asked(text(ASK), image_block()), extra_body=COLD
    )
    assert [block.text for block in answer.content] == ["19.56"]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 70


def test_anthropic_streams_a_message(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(
        model="m", max_tokens=20, messages=asked(text(ASK), image_block()), extra_body=COLD
    ) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_message()
    assert answer.content[0].text == "19.56" and answer.stop_reason == "end_turn"
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert answer.usage.output_tokens > 1
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 70


def test_anthropic_calls_a_tool_whose_result_has_a_picture(claude: anthropic.Anthropic) -> None:
    tools = [{"name": "weather", "description": "d", "input_schema": WEATHER}]
    messages: list[Any] = [{"role": "user", "content": "rain?"}]
    with claude.messages.stream(
        model="m", max_tokens=60, messages=messages, tools=tools, tool_choice={"type": "any"},
        system=[{"type": "text", "text": "x-anthropic-billing-header: 1"},
                {"type": "text", "text": "be brief"}],
    ) as stream:  # fmt: skip
        answer = stream.get_final_message()
    (call,) = answer.content
    assert (call.type, call.name, set(call.input)) == ("tool_use", "weather", {"city"})
    assert answer.stop_reason == "tool_use"
    messages.append({"role": "assistant", "content": answer.to_dict()["content"]})
    content = [text("see"), image_block()]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": content}
    messages.append({"role": "user", "content": [result, text(ASK)]})
    shown = claude.messages.create(model="m", max_tokens=20, messages=messages, tools=tools)
    plain = [{"type": "tool_result", "tool_use_id": call.id, "content": "see"}, text(ASK)]
    messages[-1] = {"role": "user", "content": plain}
    unseen = claude.messages.create(model="m", max_tokens=20, messages=messages, tools=tools)

    def read(message: Any) -> int:
        return message.usage.input_tokens + message.usage.cache_read_input_tokens

    assert read(shown) - read(unseen) >= 60  # the picture's tokens


def test_anthropic_counts_tokens_as_they_are_read(claude: anthropic.Anthropic) -> None:
    question: dict[str, Any] = {
        "model": "m",
        "messages": asked(text(ASK), image_block()),
        "tools": [{"name": "weather", "description": "d", "input_schema": WEATHER}],
        "system": "be brief",
    }
    counted = claude.messages.count_tokens(**question).input_tokens
    usage = claude.messages.create(max_tokens=1, **question).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_anthropic_counts_what_was_answered_too_and_reads_the_models(
    claude: anthropic.Anthropic,
) -> None:
    messages: list[Any] = asked(text(ASK))
    before = claude.messages.count_tokens(model="m", messages=messages).input_tokens
    messages.append({"role": "assistant", "content": "19.56"})
    assert claude.messages.count_tokens(model="m", messages=messages).input_tokens > before
    (model,) = claude.models.list()
    assert model == claude.models.retrieve(model.id)
    assert (model.type, model.display_name) == ("model", model.id)


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_agents_look_for(
    claude: anthropic.Anthropic,
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long") as raised:
        claude.messages.create(model="m", max_tokens=9, messages=asked(text("total " * 9000)))
    assert re.search(r"maximum context length is \d+ tokens", str(raised.value))


def test_anthropic_keeps_to_a_schema(claude: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}  # fmt: skip
    answer = claude.messages.create(
        model="m", max_tokens=40, messages=[{"role": "user", "content": "fine?"}],
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    )  # fmt: skip
    assert set(json.loads(answer.content[0].text)) == {"ok"}


def test_anthropic_is_refused_in_its_own_words(claude: anthropic.Anthropic) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]},
         "messages[0].content[0].type"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0]"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
         "messages"),
    ]  # fmt: skip
    for fields, param in cases:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        with pytest.raises(anthropic.BadRequestError) as refused:
            claude.messages.create(**{**body, **fields})
        error = refused.value.body["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
