"""Calls of one reply of which a client returns some results, and goes on."""

from mlx_gemma4.events import ToolCall
from mlx_gemma4.runtime.commands import AddText, AddToolResult, Open, PastTurn, Reply
from mlx_gemma4.runtime.reports import Failed, Report
from tests.realtime.talking import YES, Event, Talk, by_hand, done, last


def called_twice() -> Talk:
    talk = by_hand()
    talk.say("Rome, or Oslo?")
    talk.send("response.create")
    talk.report(Reply, [ToolCall("rome", "weather", {}), ToolCall("oslo", "weather", {}), done()])
    return talk


def returned(talk: Talk, call_id: str) -> list[Event]:
    item = {"type": "function_call_output", "call_id": call_id, "output": "sun"}
    return talk.send("conversation.item.create", item=item)


def test_a_question_is_answered_with_the_results_that_have_come() -> None:
    talk = called_twice()
    returned(talk, "rome")
    talk.say("Well?")
    talk.send("response.create")
    turns: tuple[PastTurn, ...] = last(talk, Open).turns
    assert [turn.role for turn in turns] == ["user", "model", "user"]
    assert [part.call_id for part in turns[-1].parts if isinstance(part, AddToolResult)] == ["rome"]
    assert last(talk, AddText).text == "Well?"
    talk.report(Reply, [*YES, done()])
    returned(talk, "oslo")  # too late
    assert last(talk, AddText).text == "The tool call oslo returned: sun"


def test_results_that_are_all_there_are_added_as_they_come() -> None:
    talk = called_twice()
    talk.names()
    returned(talk, "oslo")
    returned(talk, "rome")
    talk.send("response.create")
    assert talk.names() == ["AddToolResult", "AddToolResult", "Reply"]


def test_after_a_failed_answer_the_other_result_still_belongs_to_its_call() -> None:
    talk = called_twice()
    returned(talk, "rome")
    talk.send("response.create")
    number = max(talk.commands)
    talk.protocol.answers.report(Report(number, Failed("context_full", "Long", "c.", "r."), "talk"))
    talk.take()
    returned(talk, "oslo")
    results = [one for one in talk.commands.values() if isinstance(one, AddToolResult)]
    assert [result.call_id for result in results[-2:]] == ["rome", "oslo"]
    talk.names()
    talk.send("response.create")
    assert talk.names() == ["Reply"]
