"""pipecat's OpenAI Realtime service in a pipeline; every event must be one of its own types."""

import asyncio
import sys
from pathlib import Path

from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMRunFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

TINY, SCRIPTED, SOUNDS, PICTURE = sys.argv[1:]
logger.remove()
logger.add(sys.stderr, level="WARNING")
checked = 0
parse = events.parse_server_event


def counted(text: str):
    global checked
    event = parse(text)
    assert event is not None, text
    checked += 1
    return event


events.parse_server_event = counted


class Seen(FrameProcessor):
    """Keeps the texts of the service."""

    def __init__(self) -> None:
        super().__init__()
        self.texts, self.whole = [], asyncio.Queue()
        self.interrupted = False

    async def process_frame(self, frame: Frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self.texts.append(frame.text)
        elif isinstance(frame, InterruptionFrame):
            self.interrupted = True
            self.texts.clear()
        elif isinstance(frame, LLMFullResponseEndFrame):
            if self.texts:
                self.whole.put_nowait("".join(self.texts))
            self.texts = []
        await self.push_frame(frame, direction)


async def run(url: str, context: LLMContext, scenario, tools=None) -> None:
    properties = events.SessionProperties(output_modalities=["text"])
    service = OpenAIRealtimeLLMService(
        api_key="none",
        base_url=url.replace("http", "ws", 1) + "/realtime",
        settings=OpenAIRealtimeLLMService.Settings(model="tiny", session_properties=properties),
    )
    calls = []

    async def weather(params):
        calls.append(dict(params.arguments))
        await params.result_callback({"weather": "sun"})

    service.register_function("weather", weather)
    seen, pair = Seen(), LLMContextAggregatorPair(context)
    pipeline = Pipeline([pair.user(), service, seen, pair.assistant()])
    task = PipelineTask(
        pipeline, params=PipelineParams(audio_in_sample_rate=24_000), idle_timeout_secs=60
    )
    errors = []

    @task.event_handler("on_pipeline_error")
    async def failed(_, frame):
        errors.append(str(frame.error))

    async def play():
        try:
            await scenario(task, seen, calls, pair)
        finally:
            await task.queue_frame(EndFrame())

    await asyncio.wait_for(
        asyncio.gather(PipelineRunner(handle_sigint=False).run(task), play()), 60
    )
    assert not errors, errors


async def speak(task, name):
    pcm = Path(SOUNDS, name).read_bytes() + bytes(2 * 24_000 * 7 // 10)
    for at in range(0, len(pcm), 960):
        await task.queue_frame(InputAudioRawFrame(pcm[at : at + 960], 24_000, 1))
        await asyncio.sleep(0.02)


async def tiny():
    async def scenario(task, seen, calls, pair):
        await asyncio.sleep(1)
        await speak(task, "digits.pcm")
        said = await asyncio.wait_for(seen.whole.get(), 30)
        print(f"spoken digits {said}")
        assert said == "40715", said

    await run(TINY, LLMContext(), scenario)


async def scripted():
    schema = FunctionSchema("weather", "The weather.", {"city": {"type": "string"}}, ["city"])

    async def scenario(task, seen, calls, pair):
        await task.queue_frame(LLMRunFrame())
        while not seen.texts:
            await asyncio.sleep(0.05)
        await speak(task, "question.pcm")
        answers = [await asyncio.wait_for(seen.whole.get(), 30)]
        while answers[-1] != "Yes.":
            answers.append(await asyncio.wait_for(seen.whole.get(), 30))
        await speak(task, "question.pcm")
        said = await asyncio.wait_for(seen.whole.get(), 30)
        assert (said, calls) == ("It is sunny.", [{"city": "Rome"}]), (said, calls)
        print("barge-in, a call of a tool and its result")

    context = LLMContext(
        [{"role": "user", "content": "What is it?"}], tools=ToolsSchema(standard_tools=[schema])
    )
    await run(SCRIPTED, context, scenario)


asyncio.run(tiny())
asyncio.run(scripted())
print(f"{checked} events are of the client's own types")
