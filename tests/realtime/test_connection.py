import base64
import json
import shutil
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from mlx_gemma4.events import ToolCall
from mlx_gemma4.runtime.commands import SessionSettings
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.serve.guard import Doors
from mlx_gemma4.serve.realtime import voice
from mlx_gemma4.serve.realtime.answering import RealtimeAnswering
from mlx_gemma4.serve.realtime.connection import PIECE
from mlx_gemma4.serve.realtime.protocol import RealtimeProtocol
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.realtime.calling import DEMO, Call, answer, call, pcm, receipt, silence
from tests.serve.serving import ASSETS, served, until

QUESTION = pcm(DEMO / "question.wav")
TINY = EngineOptions(str(ASSETS / "tiny"))
TYPED = {"type": "input_text", "text": "What is it?"}
BY_HAND = {"input": {"turn_detection": None}}
LONG = " ".join(["again"] * 400)


def left(done: dict) -> int:
    """Tokens that were left to read when the speech had ended."""
    usage = done["response"]["usage"]
    return usage["input_tokens"] - usage["input_token_details"]["cached_tokens"]


def ask_about_the_receipt(one: Call) -> dict:
    one.update(output_modalities=["text"], temperature=0)
    one.item(receipt())
    one.append(QUESTION + silence(0.7), real_time=True)
    return one.until("response.done")


def test_a_spoken_question_is_in_the_cache_when_the_speaker_stops(server: httpx2.Client) -> None:
    with call(server) as one:
        done = ask_about_the_receipt(one)
        assert answer(done) == "19.56" and done["response"]["status"] == "completed"
        assert left(done) <= 20
        details = done["response"]["usage"]["input_token_details"]
        assert details["image_tokens"] == 60 and details["audio_tokens"] > 20
        one.append(pcm(DEMO / "follow-up.wav") + silence(0.7), real_time=True)
        done = one.until("response.done")
        assert left(done) <= 20 and one.types().count("response.created") == 2


def test_with_hearing_off_the_question_is_read_when_it_is_over() -> None:
    with served(SubprocessWorker(), replace(TINY, live=False)) as client, call(client) as one:
        done = ask_about_the_receipt(one)
        assert answer(done) == "19.56"
        assert left(done) > done["response"]["usage"]["input_token_details"]["audio_tokens"] > 20


def test_sound_that_is_committed_by_hand_is_answered_when_that_is_asked_for(
    server: httpx2.Client,
) -> None:
    with call(server) as one:
        one.update(output_modalities=["text"], temperature=0, audio=BY_HAND)
        one.send("input_audio_buffer.commit")
        refused = one.until("input_audio_buffer.committed")
        assert refused["error"]["code"] == "input_audio_buffer_commit_empty"
        one.append(pcm(DEMO / "digits.wav"))
        one.send("input_audio_buffer.commit")
        one.until("conversation.item.done")
        assert "response.created" not in one.types()
        one.send("response.create")
        assert answer(one.until("response.done")) == "40715"


def test_events_are_taken_as_bytes_too_and_sound_in_lines(server: httpx2.Client) -> None:
    with call(server) as one:
        one.update(output_modalities=["text"], temperature=0, audio=BY_HAND)
        lines = base64.encodebytes(pcm(DEMO / "digits.wav")).decode()
        assert len(lines) > 2 * PIECE
        append = {"type": "input_audio_buffer.append", "audio": lines}
        one.socket.send(json.dumps(append).encode())
        one.send("input_audio_buffer.commit")
        one.send("response.create")
        assert answer(one.until("response.done")) == "40715"


def test_the_relay_transcribes_and_its_text_is_the_transcript() -> None:
    settings = SessionSettings(hearing="relay")
    with (
        served(SubprocessWorker(), replace(TINY, settings=settings)) as client,
        call(client) as one,
    ):
        heard = {"input": {"turn_detection": None, "transcription": {"model": "own"}}}
        one.update(output_modalities=["text"], temperature=0, audio=heard)
        one.append(pcm(DEMO / "digits.wav"))
        one.send("input_audio_buffer.commit")
        one.send("response.create")
        done = one.until("response.done")
        (event,) = [e for e in one.events if e["type"].endswith("transcription.completed")]
        assert "40715" in event["transcript"].replace(" ", "")
        assert done["response"]["usage"]["input_token_details"]["audio_tokens"] == 0


def test_a_transcript_follows_the_answer_where_the_sound_is_in_the_conversation(
    server: httpx2.Client,
) -> None:
    with call(server) as one:
        heard = {"input": {"turn_detection": None, "transcription": {"model": "own"}}}
        one.update(output_modalities=["text"], temperature=0, audio=heard)
        one.append(pcm(DEMO / "digits.wav"))
        one.send("input_audio_buffer.commit")
        event = one.until("conversation.item.input_audio_transcription.completed")
        assert "40715" in event["transcript"].replace(" ", "")
        one.send("response.create")
        assert answer(one.until("response.done")) == "40715"


def test_the_tokens_of_an_answer_are_counted() -> None:
    with served(ScriptedWorker(["Yes."]), TINY) as client:
        with call(client) as one:
            one.update(output_modalities=["text"])
            one.item(TYPED)
            one.send("response.create")
            one.until("response.done")
        lines = client.get("/metrics").text.splitlines()
    drawn = next(line for line in lines if line.startswith("gemma4_tokens_drawn_total "))
    assert int(drawn.split()[1]) > 0


def test_speech_cancels_an_answer_that_is_drawn() -> None:
    worker = ScriptedWorker([LONG, "Yes."], tokens_per_second=40)
    with served(worker, TINY) as client, call(client) as one:
        one.update(output_modalities=["text"])
        one.item(TYPED)
        one.send("response.create")
        one.until("response.output_text.delta")
        one.append(QUESTION, real_time=True)
        done = one.until("response.done")
        assert done["response"]["status_details"] == {
            "type": "cancelled",
            "reason": "turn_detected",
        }
        assert "input_audio_buffer.speech_started" in one.types()
        one.append(silence(0.7))
        assert answer(one.until("response.done")) == "Yes."


def test_a_tool_is_called_and_its_result_answered() -> None:
    worker = ScriptedWorker([[ToolCall("call_a", "weather", {"city": "Rome"})], "It is sunny."])
    with served(worker, TINY) as client, call(client) as one:
        tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
        one.update(output_modalities=["text"], tools=[tool])
        one.item(TYPED)
        one.send("response.create")
        one.until("response.done")
        made = one.events[-1]["response"]["output"][0]
        assert (made["name"], made["arguments"]) == ("weather", '{"city": "Rome"}')
        output = {"type": "function_call_output", "call_id": made["call_id"], "output": "sun"}
        one.send("conversation.item.create", item=output)
        one.send("response.create")
        assert answer(one.until("response.done")) == "It is sunny."


def test_an_answer_is_spoken_by_sentences_and_only_what_was_heard_of_it_stays() -> None:
    worker = ScriptedWorker(["Good morning to you. How is it going?"])
    with served(worker, TINY) as client, call(client) as one:
        one.update(output_modalities=["audio"])
        one.item(TYPED)
        one.send("response.create")
        done = one.until("response.done")
        kinds = [kind for kind in one.types() if kind.startswith("response.output_audio")]
        assert kinds[-2:] == ["response.output_audio.done", "response.output_audio_transcript.done"]
        sound = b"".join(
            base64.b64decode(event["delta"])
            for event in one.events
            if event["type"] == "response.output_audio.delta"
        )
        assert 1 < len(sound) / 48_000 < 10  # seconds, of 24 kHz
        item = done["response"]["output"][0]
        assert item["content"] == [
            {"type": "output_audio", "transcript": "Good morning to you. How is it going?"}
        ]
        where = {"item_id": item["id"], "content_index": 0, "audio_end_ms": len(sound) // 96}
        one.send("conversation.item.truncate", **where)
        one.until("conversation.item.truncated")
        one.send("conversation.item.retrieve", item_id=item["id"])
        kept = one.until("conversation.item.retrieved")["item"]["content"][0]["transcript"]
        assert kept == "Good morning to"


def test_a_client_that_leaves_frees_its_slot() -> None:
    worker = ScriptedWorker([LONG, "Yes."], tokens_per_second=20)
    with served(worker, replace(TINY, slots=1)) as client:
        with call(client) as one:
            one.item(TYPED)
            one.send("response.create", response={"output_modalities": ["text"]})
            one.until("response.output_text.delta")
        with call(client) as other:
            other.item(TYPED)
            other.send("response.create", response={"output_modalities": ["text"]})
            assert answer(other.until("response.done")) == "Yes."


def test_a_session_survives_its_worker() -> None:
    worker = ScriptedWorker([LONG, "Yes."], tokens_per_second=20)
    with served(worker, TINY) as client, call(client) as one:
        one.update(output_modalities=["text"])
        one.item(TYPED)
        one.send("response.create")
        one.until("response.output_text.delta")
        worker.crash()
        done = one.until("response.done")
        assert done["response"]["status_details"]["error"]["code"] == "worker_crashed"
        until(lambda: client.get("/health").status_code == 200)
        one.item(TYPED)
        one.send("response.create")
        assert answer(one.until("response.done")) == "Yes."


def test_a_browser_brings_its_key_as_a_subprotocol() -> None:
    with served(ScriptedWorker(), TINY, Doors("secret")) as client:
        for key in ("secret", "wrong"):
            names = ["realtime", f"openai-insecure-api-key.{key}"]
            if key == "secret":
                with call(client, subprotocols=names) as one:
                    assert one.socket.subprotocol == "realtime"
            else:
                with pytest.raises(InvalidStatus), call(client, subprotocols=names):
                    pass


@pytest.mark.parametrize("message", ["no json", "[" * 100_000, '"text"', "{}", b"\x00\x01"])
def test_what_is_no_event_is_an_error_and_the_session_goes_on(
    server: httpx2.Client, message: str | bytes
) -> None:
    with call(server) as one:
        one.socket.send(message)
        assert one.until("error")["error"]["type"] == "invalid_request_error"
        assert one.update()["type"] == "session.updated"


def test_a_picture_that_cannot_be_read_is_refused_by_its_place(server: httpx2.Client) -> None:
    with call(server) as one:
        for url in ("data:image/png;base64,AAAA", "file:///etc/passwd", "http://10.0.0.1/a.png"):
            refused = one.item(TYPED, {"type": "input_image", "image_url": url})
            assert refused["error"]["param"] == "item.content[1].image_url"


def test_a_picture_takes_as_many_tokens_as_its_detail_asks_for(server: httpx2.Client) -> None:
    with call(server) as one:
        one.update(output_modalities=["text"], audio=BY_HAND, max_output_tokens=1)
        taken = []
        for detail in ("low", "high"):
            one.item({**receipt(), "detail": detail})
            one.send("response.create")
            usage = one.until("response.done")["response"]["usage"]
            taken.append(usage["input_token_details"]["image_tokens"])
    assert taken[0] <= 70 and taken[1] - taken[0] > 280


def test_half_of_a_letter_and_a_part_alone_are_taken(server: httpx2.Client) -> None:
    with call(server) as one:
        half = {"type": "input_text", "text": "hi \ud83d"}
        assert one.item(half)["item"]["content"][0]["text"] == "hi \ufffd"
        alone = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
        item = {"type": "message", "role": "user", "content": alone}
        one.send("conversation.item.create", item=item)
        assert one.until("error")["error"]["param"] == "item.content[0].image_url"


def test_a_defect_is_an_error_and_the_session_goes_on(
    server: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AttributeError("a defect")

    with call(server) as one:
        one.update(output_modalities=["text"], audio=BY_HAND)
        with monkeypatch.context() as broken:
            broken.setattr(RealtimeProtocol, "receive", fail)
            one.send("response.create", event_id="mine")
            error = one.until("error")["error"]
        assert (error["type"], error["code"]) == ("server_error", "internal_error")
        assert error["event_id"] == "mine"
        one.item(TYPED)
        with monkeypatch.context() as broken:
            broken.setattr(RealtimeAnswering, "report", fail)
            one.send("response.create")
            assert one.until("response.done")["type"] == "error"


async def defect(*_: Any) -> bytes:
    raise RuntimeError("a defect")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("program", lambda: shutil.which("true"), "voice_failed"),  # it writes no file
        ("program", lambda: "/nonexistent", "voice_failed"),
        ("spoken", defect, "internal_error"),
    ],
)
def test_a_voice_that_fails_in_any_way_fails_its_response_alone(
    name: str, value: Any, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice, "program", lambda: "/bin/true")
    monkeypatch.setattr(voice, name, value)
    with served(ScriptedWorker(["Hello there."]), TINY) as client, call(client) as one:
        for _ in range(2):
            one.update(output_modalities=["audio"])
            one.item(TYPED)
            one.send("response.create")
            done = one.until("response.done", seconds=20)["response"]
            assert done["status_details"]["error"]["code"] == code
        one.update(output_modalities=["text"])
        one.item(TYPED)
        one.send("response.create")
        assert answer(one.until("response.done")) == "Hello there."
