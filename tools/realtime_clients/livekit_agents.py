"""livekit's realtime model of its OpenAI plugin."""

import asyncio
import sys
from pathlib import Path

import aiohttp
from livekit import rtc
from livekit.agents import llm
from livekit.plugins import openai

TINY, SCRIPTED, SOUNDS, PICTURE = sys.argv[1:]


@llm.function_tool
async def weather(city: str) -> str:
    """The weather in a city."""
    return "sun"


async def speak(session, name):
    pcm = Path(SOUNDS, name).read_bytes() + bytes(2 * 24_000 * 7 // 10)
    for at in range(0, len(pcm), 4800):
        piece = pcm[at : at + 4800]
        session.push_audio(rtc.AudioFrame(piece, 24_000, 1, len(piece) // 2))
        await asyncio.sleep(0.1)


def opened(url, http):
    model = openai.realtime.RealtimeModel(
        model="tiny", base_url=url, api_key="none", modalities=["text"], http_session=http
    )
    session = model.session()
    made, errors = asyncio.Queue(), []
    session.on("generation_created", made.put_nowait)
    session.on("error", errors.append)
    return session, made, errors


async def answer(made):
    """The text and the calls of the next answer."""
    generation = await asyncio.wait_for(made.get(), 30)
    text, calls = "", []

    async def messages():
        nonlocal text
        async for message in generation.message_stream:
            async for piece in message.text_stream:
                text += piece

    async def functions():
        async for call in generation.function_stream:
            calls.append(call)

    await asyncio.wait_for(asyncio.gather(messages(), functions()), 30)
    return text, calls


async def tiny(http):
    session, made, errors = opened(TINY, http)
    speaking = asyncio.create_task(speak(session, "digits.pcm"))
    said, _ = await answer(made)
    await speaking
    assert said == "40715" and not errors, (said, errors)
    print(f"spoken digits {said}")
    await session.aclose()


async def scripted(http):
    session, made, errors = opened(SCRIPTED, http)
    await session.update_tools([weather])
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="What is it?")
    await session.update_chat_ctx(context)
    asked = asyncio.ensure_future(session.generate_reply(instructions="Be brief."))
    generation = await asyncio.wait_for(made.get(), 30)
    await asked
    pieces = []

    async def first():
        async for message in generation.message_stream:
            async for piece in message.text_stream:
                pieces.append(piece)

    listening = asyncio.create_task(first())
    while not pieces:
        await asyncio.sleep(0.05)
    await speak(session, "question.pcm")
    await asyncio.wait_for(listening, 10)
    assert len(pieces) < 400, len(pieces)
    assert (await answer(made))[0] == "Yes."
    context = session.chat_ctx.copy()
    context.add_message(role="user", content="And in Rome?")
    await session.update_chat_ctx(context)
    asked = asyncio.ensure_future(session.generate_reply())
    _, (call,) = await answer(made)
    await asked
    assert (call.name, call.arguments) == ("weather", '{"city": "Rome"}')
    context = session.chat_ctx.copy()
    output = llm.FunctionCallOutput(
        call_id=call.call_id, name="weather", output="sun", is_error=False
    )
    context.items.append(output)
    await session.update_chat_ctx(context)
    asked = asyncio.ensure_future(session.generate_reply())
    assert (await answer(made))[0] == "It is sunny."
    await asked
    context = session.chat_ctx.copy()
    del context.items[0]
    await session.update_chat_ctx(context)  # an item is deleted
    assert not errors, errors
    print("barge-in, a call of a tool and its result, an item deleted")
    await session.aclose()


async def main():
    async with aiohttp.ClientSession() as http:
        await asyncio.wait_for(tiny(http), 60)
        await asyncio.wait_for(scripted(http), 90)


asyncio.run(main())
