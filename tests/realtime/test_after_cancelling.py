"""What a client sends between response.cancel and the end of the response."""

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Token, ToolCall
from mlx_gemma4.runtime.commands import AddImage, AddText, Open, Reply
from mlx_gemma4.runtime.reports import Report
from tests.realtime.talking import PICTURE, Talk, by_hand, done, find, last, tone, types


def cancelled(talk: Talk) -> str:
    """Cancel an answer of which a word was drawn; its item's id."""
    talk.say("one")
    talk.send("response.create")
    talk.protocol.answers.report(Report(max(talk.commands), Token("Yes", 1), "talk"))
    item = find(talk.take(), "response.output_item.added")["item"]
    talk.send("response.cancel")
    return str(item["id"])


def test_an_item_is_replaced_by_another_of_its_id() -> None:
    talk = by_hand()
    item_id = cancelled(talk)
    content = [{"type": "output_text", "text": "Y"}]
    item = {"id": item_id, "type": "message", "role": "assistant", "content": content}
    assert talk.send("conversation.item.delete", item_id=item_id) == []
    assert talk.send("conversation.item.create", item=item) == []
    events = talk.report(Reply, [done("cancelled")])
    assert types(events)[-3:] == [
        "conversation.item.deleted",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert [part.text for part in last(talk, Open).turns[-1].parts] == ["Y"]


def test_the_next_response_answers_the_items_as_they_were_changed_before() -> None:
    talk = by_hand()
    item_id = cancelled(talk)
    talk.say("two")
    assert talk.send("conversation.item.delete", item_id=item_id) == []
    assert talk.send("response.create") == []
    events = types(talk.report(Reply, [done("cancelled")]))
    assert events[-3:] == ["response.done", "conversation.item.deleted", "response.created"]
    assert last(talk, Open).turns == ()
    assert talk.names()[-4:] == ["Open", "AddText", "AddText", "Reply"]


def test_a_second_cancel_is_of_the_response_that_was_asked_for_since() -> None:
    talk = by_hand()
    cancelled(talk)
    talk.say("two")
    assert talk.send("response.create") == talk.send("response.cancel") == []
    assert types(talk.report(Reply, [done("cancelled")]))[-1] == "response.created"
    assert talk.report(Reply, [done("cancelled")])[-1]["response"]["status"] == "cancelled"


def test_a_picture_is_read_when_its_item_comes() -> None:
    talk, read = by_hand(), []
    item_id = cancelled(talk)
    talk.protocol._read_picture = lambda url, param: read.append(url) or AddImage(PICTURE)
    talk.send("conversation.item.delete", item_id=item_id)
    content = [{"type": "input_image", "image_url": "data:,"}]
    item = {"type": "message", "role": "user", "content": content}
    assert talk.send("conversation.item.create", item=item) == [] and read == ["data:,"]
    talk.report(Reply, [done("cancelled")])
    assert last(talk, AddImage).image is PICTURE and len(read) == 1


def test_a_call_that_an_interrupted_voice_kept_back_is_not_part_of_the_conversation() -> None:
    talk = Talk(speaks=True)
    talk.say("one")
    talk.send("response.create")
    talk.report(Reply, [Token("Let me see.", 1), ToolCall("call_a", "weather", {}), done()])
    talk.append(tone(1))
    assert [type(part) for part in last(talk, Open).turns[-1].parts] == [AddText]


def test_a_voice_that_comes_or_fails_late_leaves_the_answer_after_it_alone() -> None:
    talk = Talk(speaks=True)
    cancelled(talk)
    late = talk.protocol.response
    assert late is not None
    talk.report(Reply, [done("cancelled", ids=(1, 2))])
    talk.say("two")
    talk.send("response.create")
    talk.report(Reply, [Token("No.", 1), done(ids=(3, 4))])
    talk.protocol.answers.sound(late, bytes(4800), True)
    talk.protocol.answers.failed(late, Gemma4Error("voice_failed", "a", "b", "c"))
    response = talk.protocol.response
    assert talk.take() == [] and response is not None and response is not late
    talk.protocol.answers.sound(response, bytes(4800), True)
    assert types(talk.take())[-1] == "response.done"
    talk.update(instructions="Be brief.")
    assert [turn.ids for turn in last(talk, Open).turns[1::2]] == [(1, 2), (3, 4)]
