"""The OpenAI Agents SDK's realtime session."""

import asyncio
import sys
from pathlib import Path

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner

TINY, SCRIPTED, SOUNDS, PICTURE = sys.argv[1:]
calls = []


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    calls.append(city)
    return "sun"


async def speak(session, name):
    pcm = Path(SOUNDS, name).read_bytes() + bytes(2 * 24_000 * 7 // 10)
    for at in range(0, len(pcm), 4800):
        await session.send_audio(pcm[at : at + 4800])
        await asyncio.sleep(0.1)


def started(url, tools=()):
    agent = RealtimeAgent(name="a", instructions="", tools=list(tools))
    settings = {"model_name": "tiny", "output_modalities": ["text"]}
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    address = url.replace("http", "ws", 1) + "/realtime?model=tiny"
    return runner.run(model_config={"api_key": "none", "url": address})


async def answer(session, events):
    """The text of the next whole answer."""
    async for event in events:
        assert event.type != "error", event
        if event.type == "history_updated":
            if not event.history:
                continue
            last = event.history[-1]
            if last.type == "message" and last.role == "assistant" and last.status == "completed":
                return "".join(part.text for part in last.content if part.type == "text")
    raise AssertionError("the session ended")


async def tiny():
    async with await started(TINY) as session:
        events = aiter(session)
        speaking = asyncio.create_task(speak(session, "digits.pcm"))
        said = await answer(session, events)
        await speaking
        print(f"spoken digits {said}")
        assert said == "40715", said


async def scripted():
    async with await started(SCRIPTED, [weather]) as session:
        events = aiter(session)
        await session.send_message("What is it?")
        async for event in events:
            if event.type == "raw_model_event" and event.data.type == "transcript_delta":
                break
            if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                if event.data.data["type"] == "response.output_text.delta":
                    break
        speaking = asyncio.create_task(speak(session, "question.pcm"))
        assert await answer(session, events) == "Yes."
        await speaking
        await session.send_message("What is it?")
        while (said := await answer(session, events)) == "Yes.":
            pass
        assert (said, calls) == ("It is sunny.", ["Rome"]), (said, calls)
        print("barge-in, a call of a tool and its result")


asyncio.run(asyncio.wait_for(tiny(), 60))
asyncio.run(asyncio.wait_for(scripted(), 60))
