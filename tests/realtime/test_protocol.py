from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.events import Thought, Token
from mlx_gemma4.runtime.commands import (
    AddSound,
    Open,
    Reply,
)
from mlx_gemma4.runtime.reports import Report
from tests.realtime.talking import (
    COMMITTED,
    MESSAGE,
    MESSAGE_DONE,
    PICTURE,
    YES,
    Talk,
    by_hand,
    done,
    find,
    last,
    quiet,
    tone,
    types,
)


def test_a_spoken_question_is_heard_while_it_is_spoken_and_answered_after_a_pause() -> None:
    talk = Talk()
    talk.take()
    assert types(talk.append(quiet(0.5) + tone(1))) == ["input_audio_buffer.speech_started"]
    assert talk.names()[:1] == ["Open"]
    assert types(talk.append(tone(1))) == [] and talk.names() == ["Hear"]
    events = talk.append(quiet(1))
    assert types(events) == ["input_audio_buffer.speech_stopped", *COMMITTED, "response.created"]
    assert talk.names() == ["Hear", "EndSpeech", "Reply"]
    stopped, committed, added, item_done, _ = events
    assert {stopped["item_id"], committed["item_id"], added["item"]["id"]} == {
        item_done["item"]["id"]
    }
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]


def test_events_are_numbered_in_the_order_in_which_they_are_sent() -> None:
    talk = Talk()
    events = talk.take() + talk.update() + talk.append(tone(1)) + talk.append(quiet(1))
    assert [event["event_id"] for event in events] == [f"event_{n}" for n in range(1, 9)]


def test_an_answer_is_an_item_with_a_text_part_and_its_usage_counts_what_was_cached() -> None:
    talk = by_hand()
    talk.say("Is it?")
    created = talk.send("response.create", response={"metadata": {"mine": "1"}})
    assert types(created) == ["response.created"]
    assert created[0]["response"]["metadata"] == {"mine": "1"}
    events = talk.report(Reply, [*YES, done()])
    assert types(events) == [
        *MESSAGE,
        "response.output_text.delta",
        "response.output_text.delta",
        *MESSAGE_DONE,
        "response.done",
    ]
    assert find(events, "response.content_part.done")["part"] == {
        "type": "text",
        "text": "Yes, sir.",
    }
    response = events[-1]["response"]
    assert response["status"] == "completed" and response["metadata"] == {"mine": "1"}
    assert response["output"][0]["content"] == [{"type": "output_text", "text": "Yes, sir."}]
    assert response["usage"]["input_token_details"]["cached_tokens"] == 88
    assert response["usage"]["total_tokens"] == 103


def test_thoughts_are_not_part_of_an_answer() -> None:
    talk = by_hand()
    talk.say("Is it?")
    talk.send("response.create")
    assert talk.report(Reply, [Thought("Hm."), done()])[-1]["response"]["output"] == []


def test_tokens_of_sound_and_pictures_are_counted_beside_those_of_text() -> None:
    talk = by_hand()
    content = [{"type": "input_image", "image_url": "data:receipt"}]
    talk.send(
        "conversation.item.create",
        item={"type": "message", "role": "user", "content": content},
    )
    pictures = len(PICTURE.patches)
    talk.append(tone(1))
    talk.send("input_audio_buffer.commit")
    talk.send("response.create")
    details = talk.report(Reply, [*YES, done()])[-1]["response"]["usage"]["input_token_details"]
    assert (details["audio_tokens"], details["image_tokens"]) == (25, pictures)
    assert details["text_tokens"] == 75 - pictures


def test_speech_cancels_the_answer_and_is_heard_at_once() -> None:
    talk = Talk()
    talk.say("Tell me all.")
    talk.send("response.create")
    number = max(talk.commands)
    talk.protocol.answers.report(Report(number, Token("Once", 1), "talk"))
    talk.take()
    talk.names()
    assert types(talk.append(tone(0.5))) == ["input_audio_buffer.speech_started"]
    assert talk.names()[:2] == ["Stop", "Hear"]
    talk.protocol.answers.report(Report(number, done("cancelled"), "talk"))
    events = talk.take()
    response = events[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "Once"
    events = talk.append(quiet(1))
    assert types(events)[-1] == "response.created"
    assert talk.names() == ["Hear", "EndSpeech", "Reply"]  # nothing is opened again


def test_speech_that_ends_before_the_answer_does_is_answered_as_soon_as_it_has() -> None:
    talk = Talk()
    talk.say("Tell me all.")
    talk.send("response.create")
    number = max(talk.commands)
    talk.protocol.answers.report(Report(number, Token("Once", 1), "talk"))
    assert "response.created" not in types(talk.append(tone(1) + quiet(1)))[1:]
    talk.protocol.answers.report(Report(number, done("cancelled"), "talk"))
    assert types(talk.take())[-2:] == ["response.done", "response.created"]


def test_speech_leaves_the_answer_alone_where_it_must_not_interrupt() -> None:
    talk = Talk()
    talk.update(audio={"input": {"turn_detection": {"interrupt_response": False}}})
    talk.say("Tell me all.")
    talk.send("response.create")
    talk.append(tone(1))
    assert "Stop" not in talk.names()


def detection(**fields: Any) -> dict[str, Any]:
    return {"input": {"turn_detection": {"type": "server_vad", **fields}}}


SEMANTIC = {"input": {"turn_detection": {"type": "semantic_vad", "create_response": False}}}


@pytest.mark.parametrize("said", [0.1, 1.0], ids=["before it is known to be speech", "after that"])
@pytest.mark.parametrize(
    "changed",
    [
        detection(create_response=False),
        detection(create_response=False, silence_duration_ms=800, prefix_padding_ms=100),
        SEMANTIC,
    ],
)
def test_what_is_said_goes_on_where_turn_detection_is_changed(
    changed: dict[str, Any], said: float
) -> None:
    talk = Talk()
    talk.take()
    started = talk.append(tone(said))
    assert types(talk.update(audio=changed)) == ["session.updated"]
    started += talk.append(tone(1.4 - said))
    events = talk.append(quiet(0.7))
    assert bool(events) == ("silence_duration_ms" not in changed["input"]["turn_detection"])
    events += talk.append(quiet(0.3))
    assert types(events) == ["input_audio_buffer.speech_stopped", *COMMITTED]
    assert types(started) == ["input_audio_buffer.speech_started"]
    assert events[0]["item_id"] == started[0]["item_id"]
    assert 1300 < events[0]["audio_end_ms"] <= 1440 and started[0]["audio_start_ms"] == 0
    assert len(talk.protocol._feed.items[0].speech) >= 35


def test_what_is_said_while_nothing_is_detected_is_committed_by_hand_or_when_it_is_again() -> None:
    talk = Talk()
    talk.append(tone(1))
    talk.update(audio={"input": {"turn_detection": None}})
    assert types(talk.send("input_audio_buffer.commit")) == COMMITTED
    talk.append(tone(1))
    talk.update(audio=detection(create_response=True))
    talk.append(tone(1))
    talk.update(audio={"input": {"turn_detection": None}})
    events = talk.update(audio=detection(create_response=True))
    ended = ["input_audio_buffer.speech_stopped", *COMMITTED, "response.created"]
    assert types(events) == ["session.updated", *ended]


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_what_is_said_goes_on_where_nothing_is_detected_any_more(pause: float) -> None:
    talk = Talk()
    talk.append(tone(0.1 if not pause else 1))
    talk.append(quiet(pause))
    talk.update(audio={"input": {"turn_detection": None}})
    talk.append(tone(1))
    talk.send("input_audio_buffer.commit")
    said = 1.1 if not pause else 2.3
    assert len(talk.protocol._feed.items[0].speech) >= said * 25 - 1


def test_quiet_that_nobody_spoke_in_is_nothing_where_nothing_is_detected_any_more() -> None:
    talk = Talk()
    talk.append(quiet(1))
    talk.update(audio={"input": {"turn_detection": None}})
    assert types(talk.update(audio=detection())) == ["session.updated"]


def test_a_commit_by_hand_makes_an_item_and_no_answer() -> None:
    talk = by_hand()
    talk.append(tone(0.31))
    assert types(talk.send("input_audio_buffer.commit")) == COMMITTED
    assert talk.names() == ["Open", "Hear", "Hear", "EndSpeech"]
    assert talk.protocol._feed.items[0].speech.shape == (8, 640)  # the last one is filled up


@pytest.mark.parametrize("before", ["nothing", "cleared", "committed"])
def test_an_empty_commit_is_refused_by_its_code(before: str) -> None:
    talk = by_hand()
    if before != "nothing":
        talk.append(tone(0.5))
        talk.send(f"input_audio_buffer.{'clear' if before == 'cleared' else 'commit'}")
    (error,) = talk.send("input_audio_buffer.commit", event_id="mine")
    assert error["type"] == "error" and error["error"]["event_id"] == "mine"
    assert error["error"]["code"] == "input_audio_buffer_commit_empty"


def test_what_is_cleared_is_no_part_of_the_question_and_what_was_added_stays() -> None:
    talk = by_hand()
    talk.say("Look.")
    talk.append(tone(0.5))
    talk.names()
    assert types(talk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert talk.names() == ["Open", "AddText"]


def test_with_hearing_off_nothing_is_sent_before_the_commit() -> None:
    talk = Talk(hearing="off")
    talk.update(audio={"input": {"turn_detection": None}})
    talk.append(tone(1))
    talk.send("input_audio_buffer.commit")
    assert talk.names() == ["Open"]
    talk.send("response.create")
    assert not last(talk, Open).read_ahead and last(talk, AddSound).path.shape == (25, 640)
    assert talk.names() == ["Open", "AddSound", "Reply"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "root", "x", "message"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "item",
                    "session",
                    "response",
                    "audio",
                    "input",
                    "content",
                    "role",
                    "tools",
                ]
                + ["instructions", "turn_detection", "previous_item_id", "item_id", "id", "format"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
KINDS = st.sampled_from([*Talk().protocol._handlers, "other"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(KINDS, JSON), max_size=4), JSON)
def test_whatever_a_client_sends_is_answered_by_events(
    sent: list[tuple[str, object]], anything: object
) -> None:
    talk = Talk()
    talk.protocol.receive(anything)
    for kind, fields in sent:
        given = fields if isinstance(fields, dict) else {"item": fields}
        talk.protocol.receive({**given, "type": kind})
    assert all("type" in event for event in talk.take())
