"""The openai library's Realtime client; every event must be one of its own types."""

import asyncio
import base64
import sys
from pathlib import Path

from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

TINY, SCRIPTED, SOUNDS, PICTURE = sys.argv[1:]
EVENT = TypeAdapter(RealtimeServerEvent)
checked = 0


async def until(connection, kind):
    """The next event of a kind; each before it is checked, too."""
    global checked
    while True:
        data = await asyncio.wait_for(connection.recv_bytes(), 60)
        event = EVENT.validate_json(data, strict=False)
        checked += 1
        assert event.type != "error" or kind == "error", event
        if event.type == kind:
            return event


async def speak(connection, name, real_time=True):
    pcm = Path(SOUNDS, name).read_bytes() + real_time * bytes(2 * 24_000 * 7 // 10)
    for at in range(0, len(pcm), 4800):
        audio = base64.b64encode(pcm[at : at + 4800]).decode()
        await connection.input_audio_buffer.append(audio=audio)
        if real_time:
            await asyncio.sleep(0.1)


def text(done):
    return "".join(part.text for item in done.response.output for part in item.content or [])


async def tiny():
    client = AsyncOpenAI(base_url=TINY, api_key="none")
    async with client.realtime.connect(model="tiny") as connection:
        await until(connection, "session.created")
        await connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "instructions": ""}
        )
        url = "data:image/png;base64," + base64.b64encode(Path(PICTURE).read_bytes()).decode()
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "image_url": url}],
            }
        )
        await speak(connection, "question.pcm")
        done = await until(connection, "response.done")
        usage = done.response.usage
        left = usage.input_tokens - usage.input_token_details.cached_tokens
        assert text(done) == "19.56" and left <= 20, (text(done), left)
    print(f"receipt {text(done)} with {left} tokens left to read")


async def by_hand():
    client = AsyncOpenAI(base_url=TINY, api_key="none")
    async with client.realtime.connect(model="tiny") as connection:
        await connection.session.update(
            session={
                "type": "realtime",
                "output_modalities": ["text"],
                "audio": {"input": {"turn_detection": None}},
            }
        )
        await connection.input_audio_buffer.commit()
        error = await until(connection, "error")
        assert error.error.code == "input_audio_buffer_commit_empty"
        await speak(connection, "digits.pcm", real_time=False)
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        heard = text(await until(connection, "response.done"))
        assert heard == "40715", heard
        print(f"by hand: nothing is refused, digits {heard}")


async def scripted():
    client = AsyncOpenAI(base_url=SCRIPTED, api_key="none")
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    async with client.realtime.connect(model="tiny") as connection:
        await connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "tools": [tool]}
        )
        await ask(connection)
        await until(connection, "response.output_text.delta")
        await speak(connection, "question.pcm")
        cut = await until(connection, "response.done")
        details = cut.response.status_details
        assert (cut.response.status, details.reason) == ("cancelled", "turn_detected")
        assert text(await until(connection, "response.done")) == "Yes."
        await ask(connection)
        call = (await until(connection, "response.done")).response.output[0]
        assert (call.name, call.arguments) == ("weather", '{"city": "Rome"}')
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "sun"}
        )
        await connection.response.create()
        assert text(await until(connection, "response.done")) == "It is sunny."
        print("barge-in, a call of a tool and its result")


async def ask(connection):
    content = [{"type": "input_text", "text": "What is it?"}]
    item = {"type": "message", "role": "user", "content": content}
    await connection.conversation.item.create(item=item)
    await connection.response.create()


asyncio.run(tiny())
asyncio.run(by_hand())
asyncio.run(scripted())
print(f"{checked} events are of the client's own types")
