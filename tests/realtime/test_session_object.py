from typing import Any

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.serve.realtime.session_object import new_session, updated

SESSION = new_session("sess_1", "gemma", 0, speaks=False)


def update(changes: dict[str, Any], session: dict[str, Any] = SESSION) -> dict[str, Any]:
    return updated(session, changes, speaks=False)


def sound(**fields: Any) -> dict[str, Any]:
    return {"audio": {"input": fields}}


def test_an_update_changes_its_fields_alone_and_not_the_session_it_starts_from() -> None:
    first = update(sound(transcription={"model": "any"}))
    second = update({"instructions": "Be brief."}, first)
    assert second["audio"]["input"]["transcription"] == {"model": "any"}
    assert second["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500
    assert second["instructions"] == "Be brief."
    assert SESSION["instructions"] == "" and SESSION["audio"]["input"]["transcription"] is None


def test_turn_detection_of_another_type_has_defaults_of_its_own() -> None:
    semantic = update(sound(turn_detection={"type": "semantic_vad", "interrupt_response": False}))
    assert semantic["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": False,
    }
    by_hand = update(sound(turn_detection=None), semantic)
    assert by_hand["audio"]["input"]["turn_detection"] is None
    server = update(sound(turn_detection={"silence_duration_ms": 300}), by_hand)
    assert server["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert server["audio"]["input"]["turn_detection"]["threshold"] == 0.5


def test_a_list_is_replaced_and_no_client_changes_the_id() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    with_tool = update({"tools": [tool], "id": "other"})
    assert with_tool["tools"] == [tool] and with_tool["id"] == "sess_1"
    assert update({"conversation_id": "other", "expires_at": 9}) == SESSION
    assert update({"tools": []}, with_tool)["tools"] == []


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"modalities": ["text"]}, "session.modalities"),
        ({"type": "transcription"}, "session.type"),
        ({"output_modalities": ["smell"]}, "session.output_modalities"),
        ({"output_modalities": ["audio"]}, "session.output_modalities"),  # no voice is installed
        ({"tools": [{"type": "mcp"}]}, "session.tools[0].type"),
        ({"tools": [{"type": "function"}]}, "session.tools[0].name"),
        ({"tools": [{"type": "function", "name": "get weather"}]}, "session.tools[0].name"),
        ({"tools": 2 * [{"type": "function", "name": "weather"}]}, "session.tools"),
        ({"tools": {}}, "session.tools"),
        ({"tool_choice": "required"}, "session.tool_choice"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
        ({"temperature": "hot"}, "session.temperature"),
        ({"instructions": 5}, "session.instructions"),
        ({"truncation": "weird"}, "session.truncation"),
        ({"truncation": {"type": "weird"}}, "session.truncation.type"),
        ({"prompt": {"id": "p"}}, "session.prompt"),
        ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
        ({"parallel_tool_calls": False}, "session.parallel_tool_calls"),
        ({"reasoning": {"effort": "high"}}, "session.reasoning.effort"),
        (sound(transcription={"prompt": "names"}), "session.audio.input.transcription.prompt"),
        ({"audio": 3}, "session.audio"),
        ({"audio": {"input": 5}}, "session.audio.input"),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
        (sound(format={"type": "audio/pcmu"}), "session.audio.input.format"),
        (sound(format={"rate": 8000}), "session.audio.input.format"),
        (sound(turn_detection={"type": "psychic"}), "session.audio.input.turn_detection.type"),
        (sound(turn_detection=4), "session.audio.input.turn_detection"),
        (
            sound(turn_detection={"idle_timeout_ms": 5000}),
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            sound(turn_detection={"silence_duration_ms": "long"}),
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (
            sound(turn_detection={"create_response": "no"}),
            "session.audio.input.turn_detection.create_response",
        ),
        (
            sound(turn_detection={"type": "semantic_vad", "interrupt_response": 0}),
            "session.audio.input.turn_detection.interrupt_response",
        ),
        (
            sound(turn_detection={"type": "semantic_vad", "eagerness": "very"}),
            "session.audio.input.turn_detection.eagerness",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_field(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(Gemma4Error) as raised:
        update(changes)
    assert raised.value.facts["param"] == param
