import base64

import numpy as np
import pytest

from mlx_gemma4.events import Heard, Token, ToolCall
from mlx_gemma4.runtime.commands import (
    AddText,
    AddToolResult,
    Open,
    Reply,
    Transcribe,
)
from mlx_gemma4.runtime.reports import Failed, Report
from tests.realtime.talking import (
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


def test_a_call_of_a_tool_and_its_result_continue_the_answer() -> None:
    talk = by_hand(tools=[{"type": "function", "name": "weather", "parameters": {}}])
    talk.say("What is it like in Rome?")
    assert last(talk, Open).tools[0]["function"]["name"] == "weather"
    talk.send("response.create")
    events = talk.report(Reply, [ToolCall("call_a", "weather", {"city": "Rome"}), done()])
    assert types(events) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    call = events[-1]["response"]["output"][0]
    assert (call["call_id"], call["name"], call["arguments"]) == (
        "call_a",
        "weather",
        '{"city": "Rome"}',
    )
    talk.names()
    item = {"type": "function_call_output", "call_id": "call_a", "output": "sun"}
    assert types(talk.send("conversation.item.create", item=item)) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert last(talk, AddToolResult).call_id == "call_a"
    assert types(talk.send("response.create")) == ["response.created"]
    assert talk.names() == ["AddToolResult", "Reply"]


TOOLS = [{"type": "function", "name": name, "parameters": {}} for name in ("weather", "time")]


@pytest.mark.parametrize(
    ("choice", "must", "may"),
    [
        ("auto", (), True),
        ("none", (), False),
        ("required", ("weather", "time"), True),
        ({"type": "function", "name": "time"}, ("time",), True),
    ],
)
def test_which_tools_are_called_is_chosen_by_the_session_or_the_response(
    choice: object, must: tuple[str, ...], may: bool
) -> None:
    for talk, options in (
        (by_hand(tools=TOOLS, tool_choice=choice), {}),
        (by_hand(tools=TOOLS), {"tool_choice": choice}),
    ):
        talk.say("What is it like in Rome?")
        talk.send("response.create", response=options)
        reply = last(talk, Reply)
        assert (reply.must_call, reply.may_call) == (must, may)


def test_a_result_that_no_call_of_the_last_answer_waits_for_is_text() -> None:
    talk = by_hand()
    item = {"type": "function_call_output", "call_id": "call_x", "output": "sun"}
    talk.send("conversation.item.create", item=item)
    assert last(talk, AddText).text == "The tool call call_x returned: sun"


def test_items_are_sent_when_they_are_created_and_after_root_is_before_all() -> None:
    talk = by_hand()
    first = talk.say("one")
    assert [event["previous_item_id"] for event in first] == [None, None]
    talk.names()
    assert talk.say("two")[0]["previous_item_id"] == first[0]["item"]["id"]
    assert last(talk, AddText).text == "two" and talk.names() == ["AddText"]
    assert talk.say("zero", previous_item_id="root")[0]["previous_item_id"] is None
    added = [one.text for one in talk.commands.values() if isinstance(one, AddText)]
    assert talk.names()[0] == "Open" and added == ["zero", "one", "two"]


def test_what_is_added_while_an_answer_is_drawn_comes_after_it() -> None:
    talk = by_hand()
    talk.say("one")
    talk.send("response.create")
    number = max(talk.commands)
    talk.names()
    talk.say("two")
    assert talk.names() == ["AddText"]
    talk.say("zero", previous_item_id="root")
    assert talk.names() == []  # the answer is not known yet
    talk.protocol.answers.report(Report(number, Token("Yes", 1), "talk"))
    talk.protocol.answers.report(Report(number, done(), "talk"))
    talk.take()
    opened = last(talk, Open)
    assert [[part.text for part in turn.parts] for turn in opened.turns] == [
        ["zero", "one"],
        ["Yes"],
    ]
    assert last(talk, AddText).text == "two"


def test_deleted_items_are_gone_and_the_ids_of_answers_that_stay_are_kept() -> None:
    talk = by_hand()
    first = talk.say("one")[0]["item"]["id"]
    talk.send("response.create")
    talk.report(Reply, [*YES, done(ids=(4, 5))])
    second = talk.say("two")[0]["item"]["id"]
    deleted = talk.send("conversation.item.delete", item_id=second)
    assert deleted[0]["item_id"] == second and types(deleted) == ["conversation.item.deleted"]
    turns = last(talk, Open).turns
    assert [turn.role for turn in turns] == ["user", "model"]
    assert turns[1].ids == (4, 5) and turns[1].parts[0].text == "Yes, sir."
    talk.send("conversation.item.delete", item_id=first)
    assert [turn.role for turn in last(talk, Open).turns] == ["model"]
    (error,) = talk.send("conversation.item.delete", item_id=first)
    assert error["error"]["code"] == "item_not_found"


def test_other_instructions_open_the_conversation_with_them_and_equal_ones_do_not() -> None:
    talk = by_hand(instructions="Be brief.")
    assert last(talk, Open).settings.system == "Be brief."
    talk.names()
    talk.update(instructions="Be brief.")
    assert talk.names() == []


def test_instructions_of_a_response_that_add_to_the_session_s_join_its_question_alone() -> None:
    talk = by_hand(instructions="Be brief.")
    talk.names()
    talk.send("response.create", response={"instructions": "Be brief.\nGreet."})
    assert last(talk, AddText).text == "Greet." and talk.names() == ["AddText", "Reply"]


def test_other_instructions_of_a_response_hold_for_it_alone() -> None:
    talk = by_hand(instructions="Be brief.")
    talk.say("one")
    talk.send("response.create", response={"instructions": "Be long."})
    assert last(talk, Open).settings.system == "Be long."
    talk.report(Reply, [*YES, done()])
    assert last(talk, Open).settings.system == "Be brief."


def test_a_spoken_answer_is_part_of_what_is_opened_after_it() -> None:
    talk = Talk(speaks=True)
    talk.say("one")
    talk.send("response.create", response={"instructions": "Be long."})
    call = ToolCall("call_a", "weather", {})
    talk.report(Reply, [Token("Yes.", 1), call, done()])
    talk.names()  # its voice is still to come, and its call comes after that
    response = talk.protocol.response
    assert response is not None and list(response.unspoken) == ["Yes."]
    talk.protocol.answers.sound(response, bytes(4800), True)
    assert types(talk.take())[-1] == "response.done"
    question, answer = last(talk, Open).turns
    assert [part.text for part in question.parts] == ["one"]
    assert [getattr(part, "text", part) for part in answer.parts] == ["Yes.", call]


def test_a_spoken_answer_that_is_interrupted_is_part_of_what_is_opened_after_it() -> None:
    talk = Talk(speaks=True)
    talk.say("one")
    talk.send("response.create", response={"instructions": "Be long."})
    talk.report(Reply, [Token("Yes.", 1), done()])
    assert types(talk.append(tone(1)))[-1] == "response.done"
    opened = last(talk, Open)
    assert [turn.role for turn in opened.turns] == ["user", "model"]
    assert talk.names()[-2:] == ["Open", "Hear"]


def test_a_late_result_of_an_earlier_call_waits_for_the_answer_in_progress() -> None:
    talk = by_hand()
    call = {"type": "function_call", "call_id": "mine", "name": "weather", "arguments": "{}"}
    talk.send("conversation.item.create", item=call)
    talk.say("never mind")
    talk.send("response.create")
    talk.names()
    item = {"type": "function_call_output", "call_id": "mine", "output": "sun"}
    talk.send("conversation.item.create", item=item)
    assert talk.names() == []
    talk.send("response.cancel")
    assert talk.names() == ["Stop"]


def test_a_transcript_is_drawn_after_the_answer_where_the_session_asks_for_one() -> None:
    talk = by_hand()
    talk.update(audio={"input": {"transcription": {"model": "any"}}})
    talk.append(tone(1))
    item_id = talk.send("input_audio_buffer.commit")[0]["item_id"]
    talk.send("response.create")
    assert not any(isinstance(one, Transcribe) for one in talk.commands.values())
    talk.report(Reply, [*YES, done()])
    assert last(talk, Transcribe).frames.shape == (25, 640)
    (event,) = talk.report(Transcribe, [Heard("hello gemma")])
    assert event["type"] == "conversation.item.input_audio_transcription.completed"
    assert (event["item_id"], event["transcript"]) == (item_id, "hello gemma")
    assert event["usage"] == {"type": "duration", "seconds": 1.0}
    (shown,) = talk.send("conversation.item.retrieve", item_id=item_id)
    assert shown["item"]["content"][0]["transcript"] == "hello gemma"


def test_a_transcript_that_speech_interrupts_is_drawn_later() -> None:
    talk = Talk()
    talk.update(audio={"input": {"transcription": {"model": "any"}}})
    talk.append(tone(1) + quiet(1))
    talk.report(Reply, [*YES, done()])
    assert talk.names()[-1] == "Transcribe"
    talk.append(tone(1))
    assert talk.names()[:2] == ["Stop", "Hear"]
    talk.append(quiet(1))
    events = talk.report(Reply, [*YES, done()])
    assert types(events)[-1] == "response.done" and talk.names()[-1] == "Transcribe"


def test_what_the_relay_heard_is_the_transcript_and_stays_as_text() -> None:
    talk = Talk(hearing="relay")
    talk.update(audio={"input": {"transcription": {"model": "any"}}})
    talk.append(tone(1) + quiet(1))
    events = talk.report(Reply, [Heard("hello gemma", relayed=True), *YES, done()])
    assert types(events)[0] == "conversation.item.input_audio_transcription.completed"
    assert "Transcribe" not in talk.names()
    talk.update(instructions="Be brief.")
    question, _ = last(talk, Open).turns
    assert [part.text for part in question.parts] == ["hello gemma"]


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}),
        ("cancelled", "cancelled", {"type": "cancelled", "reason": "client_cancelled"}),
    ],
)
def test_how_a_reply_ended_is_the_status(
    reason: str, status: str, details: dict[str, str] | None
) -> None:
    talk = by_hand()
    talk.say("one")
    talk.send("response.create")
    if reason == "cancelled":
        assert talk.send("response.cancel") == []
    response = talk.report(Reply, [*YES, done(reason)])[-1]["response"]
    assert (response["status"], response["status_details"]) == (status, details)


def test_an_item_of_a_response_that_is_cancelled_is_changed_when_that_has_ended() -> None:
    talk = by_hand()
    talk.say("one")
    talk.send("response.create")
    number = max(talk.commands)
    talk.protocol.answers.report(Report(number, YES[0], "talk"))
    added = find(talk.take(), "response.output_item.added")
    where = {"item_id": added["item"]["id"]}
    (error,) = talk.send("conversation.item.delete", **where)
    assert error["error"]["code"] == "item_in_progress"
    talk.send("response.cancel")
    assert talk.send("conversation.item.delete", **where) == []
    kinds = types(talk.report(Reply, [done("cancelled")]))
    assert kinds[-2:] == ["response.done", "conversation.item.deleted"]


def test_two_answers_at_once_and_a_cancel_of_none_have_the_codes_that_clients_know() -> None:
    talk = by_hand()
    (error,) = talk.send("response.cancel")
    assert error["error"]["code"] == "response_cancel_not_active"
    talk.say("one")
    talk.send("response.create")
    (error,) = talk.send("response.create")
    assert error["error"]["code"] == "conversation_already_has_active_response"


def test_a_reply_that_fails_is_a_failed_response_and_the_question_can_be_asked_again() -> None:
    talk = by_hand()
    talk.say("one")
    talk.send("response.create")
    number = max(talk.commands)
    talk.protocol.answers.report(
        Report(number, Failed("context_full", "Too long", "c.", "r."), "talk")
    )
    response = talk.take()[-1]["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "context_full"
    talk.names()
    assert types(talk.send("response.create")) == ["response.created"]


def test_after_a_crash_the_conversation_is_opened_again_with_the_next_question() -> None:
    talk = by_hand()
    talk.say("one")
    talk.send("response.create")
    number = max(talk.commands)
    crash = Failed("worker_crashed", "The worker has stopped", "c.", "r.")
    talk.protocol.answers.report(Report(number, crash, "talk"))
    assert talk.take()[-1]["response"]["status"] == "failed"
    talk.names()
    talk.say("two")
    assert talk.names() == ["Open", "AddText", "AddText"]


def test_before_anything_was_said_the_instructions_open_the_conversation() -> None:
    talk = by_hand(instructions="Greet in rhymes.")
    talk.send("response.create")
    assert last(talk, AddText).text == "Start the conversation."
    assert talk.report(Reply, [*YES, done()])[-1]["response"]["status"] == "completed"
    assert [turn.role for turn in last(talk, Open).turns] == ["model"]


def test_words_of_the_system_are_instructions_before_all_else_and_else_part_of_a_question() -> None:
    def system(talk: Talk, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "system", "content": content}
        talk.send("conversation.item.create", item=item)

    talk = by_hand()
    system(talk, "Be brief.")
    talk.say("one")
    assert last(talk, Open).settings.system == "Be brief." and last(talk, AddText).text == "one"
    talk.send("response.create")
    talk.report(Reply, [*YES, done()])
    system(talk, "Now greet.")
    assert last(talk, AddText).text == "Now greet."
    assert types(talk.send("response.create")) == ["response.created"]


def test_nothing_to_answer_is_a_failed_response_and_no_error() -> None:
    events = by_hand().send("response.create")
    assert types(events) == ["response.created", "response.done"]
    assert events[1]["response"]["status"] == "failed"


def test_a_response_that_is_asked_for_while_somebody_speaks_answers_what_was_committed() -> None:
    talk = Talk()
    talk.say("one")
    talk.append(tone(1))
    talk.names()
    talk.send("response.create")
    assert talk.names() == ["Open", "AddText", "Reply", "Hear"]


def test_the_sound_of_an_item_is_heard_as_a_whole() -> None:
    talk = by_hand()
    audio = base64.b64encode(tone(0.4)).decode()
    content = [{"type": "input_audio", "audio": audio}]
    item = {"type": "message", "role": "user", "content": content, "id": "mine"}
    assert talk.send("conversation.item.create", item=item)[0]["item"]["id"] == "mine"
    frames = talk.protocol._feed.items[0].speech
    assert frames.shape == (10, 640) and np.abs(frames).max() > 0.2
    (error,) = talk.send("conversation.item.create", item=item)
    assert error["error"]["param"] == "item.id"
