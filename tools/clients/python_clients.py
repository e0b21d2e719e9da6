"""litellm, langchain-openai, pydantic-ai and llm against a server: prints a line for each check.

    python tools/clients/python_clients.py ROOT PICTURE SOUND

Runs in an environment of its own, which has these packages and not ours.
"""

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

ROOT, PICTURE, SOUND = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
BASE, KEY, MODEL, ASK = f"{ROOT}/v1", "none", "tiny", "what is the total?"
URL = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"
QUESTION = [{"type": "text", "text": ASK}, {"type": "image_url", "image_url": {"url": URL}}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 8}},
            "required": ["city"],
        },
    },
}


class Receipt(BaseModel):
    """What a receipt has."""

    total: str = Field(pattern=r"^[0-9]{1,3}\.[0-9]{2}$")
    kind: Literal["shop", "cafe"]


def check(name: str, passed: bool, seen: object = "") -> None:
    print(f"{'ok' if passed else 'FAILED'}\t{name}\t{seen}", flush=True)


def litellm_checks() -> None:
    """litellm: whole, streamed, a schema, a tool."""
    import litellm

    def ask(content: object, **more: object) -> object:
        messages = [{"role": "user", "content": content}]
        return litellm.completion(
            f"openai/{MODEL}", messages, api_base=BASE, api_key=KEY, temperature=0, **more
        )

    seen = ask(QUESTION).choices[0].message.content
    check("litellm: a picture", seen == "19.56", seen)
    chunks = [one.choices[0].delta.content or "" for one in ask(QUESTION, stream=True)]
    check("litellm: a stream", "".join(chunks) == "19.56", chunks)
    seen = ask(QUESTION, response_format=Receipt).choices[0].message.content
    check("litellm: a schema", Receipt.model_validate_json(seen).total == "19.56", seen)
    (call,) = ask("rain?", tools=[WEATHER], tool_choice="required").choices[0].message.tool_calls
    check("litellm: a tool that must be called", call.function.name == "weather", call.function)


def langchain_checks() -> None:
    """langchain-openai: whole, streamed, structured, a tool."""
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, base_url=BASE, api_key=KEY, temperature=0)
    question = HumanMessage(QUESTION)
    seen = model.invoke([question])
    check("langchain: a picture", seen.content == "19.56", seen.content)
    text = "".join(piece.content for piece in model.stream([question]))
    check("langchain: a stream", text == "19.56", text)
    found = model.with_structured_output(Receipt).invoke([question])
    check("langchain: a schema", found.total == "19.56", found)
    calling = model.bind_tools([WEATHER], tool_choice="weather").invoke([HumanMessage("rain?")])
    (call,) = calling.tool_calls
    result = ToolMessage("sun", tool_call_id=call["id"])
    last = model.bind_tools([WEATHER]).invoke([HumanMessage("rain?"), calling, result])
    check("langchain: a call and its result", call["name"] == "weather", (call, last.content))


def pydantic_checks() -> None:
    """pydantic-ai: whole, and a schema, over chat completions and Responses."""
    from pydantic_ai import Agent, BinaryContent, NativeOutput, ToolOutput
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=BASE, api_key=KEY)
    question = [ASK, BinaryContent(PICTURE.read_bytes(), media_type="image/png")]
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        model, name = kind(MODEL, provider=provider), f"pydantic-ai, {kind.__name__}"
        seen = Agent(model, model_settings={"temperature": 0}).run_sync(question).output
        check(f"{name}: a picture", seen == "19.56", seen)
        for form in (NativeOutput, ToolOutput):
            agent = Agent(model, output_type=form(Receipt), model_settings={"temperature": 0})
            found = agent.run_sync(question).output
            check(f"{name}: {form.__name__}", isinstance(found, Receipt), found)


def llm_checks() -> None:
    """The command llm: a picture, the conversation continued with a sound, a schema."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "extra-openai-models.yaml").write_text(
            f"- model_id: gemma\n  model_name: {MODEL}\n  api_base: {BASE}\n  api_key: {KEY}\n"
            "  vision: true\n  audio: true\n  supports_schema: true\n  supports_tools: true\n"
        )

        def llm(*arguments: str) -> str:
            command = [sys.executable, "-m", "llm", *arguments]
            environment = {**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": KEY}
            run = subprocess.run(command, env=environment, capture_output=True, text=True)
            return (run.stdout or run.stderr).strip()

        seen = llm("-m", "gemma", ASK, "-a", str(PICTURE), "-o", "temperature", "0")
        check("llm: -a receipt.png", seen == "19.56", seen)
        seen = llm("-c", "what is the tax?", "-o", "temperature", "0")
        check("llm: -c", bool(seen), seen)
        seen = llm("-m", "gemma", "", "-a", str(SOUND), "-o", "temperature", "0")
        check("llm: -a digits.wav", seen == "40715", seen)
        schema = '{"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}'
        seen = llm("-m", "gemma", "x", "--schema", schema)
        check("llm: --schema", '"a"' in seen, seen)


if __name__ == "__main__":
    for checks in (litellm_checks, langchain_checks, pydantic_checks, llm_checks):
        try:
            checks()
        except Exception as error:
            check(checks.__name__, False, f"{type(error).__name__}: {error}"[:600])
