"""Somebody speaks while another program's long answer is drawn by the same worker."""

import json
import shutil
import threading
from pathlib import Path

import httpx2

from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve.engine import EngineOptions
from tests.realtime.calling import DEMO, answer, call, pcm
from tests.serve.serving import ASSETS, asked, served, text

BODY = asked(text("count"), max_tokens=600, temperature=1, seed=5, stream=True)
BODY["stream_options"] = {"include_usage": True}


def endless(folder: Path) -> Path:
    """The tiny model, which may not end an answer."""
    shutil.copytree(ASSETS / "tiny", folder)
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text())
    settings["suppress_tokens"] += settings["eos_token_id"]
    file.write_text(json.dumps(settings))
    return folder


def test_a_spoken_question_is_answered_before_a_long_chat_which_stays_as_it_would_be_alone(
    tmp_path: Path,
) -> None:
    options = EngineOptions(str(endless(tmp_path / "endless")), slots=2)
    begun, order = threading.Event(), []

    def chat(client: httpx2.Client) -> tuple[str, int]:
        """The answer, and how many tokens it has."""
        words, tokens = "", 0
        with client.stream("POST", "/v1/chat/completions", json=BODY) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                for choice in chunk["choices"]:
                    words += choice["delta"].get("content") or ""
                    begun.set()
                tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        order.append("chat")
        return words, tokens

    with served(SubprocessWorker(), options) as client:
        alone = chat(client)
        assert alone[1] == 600
        begun.clear()
        together: list[tuple[str, int]] = []
        drawing = threading.Thread(target=lambda: together.append(chat(client)))
        with call(client) as one:
            one.update(output_modalities=["text"], audio={"input": {"turn_detection": None}})
            drawing.start()
            assert begun.wait(60)
            order.clear()
            one.append(pcm(DEMO / "digits.wav"))
            one.send("input_audio_buffer.commit")
            one.send("response.create", response={"max_output_tokens": 5})
            spoken = one.until("response.done")
            order.append("spoken")
        drawing.join()
    assert order == ["spoken", "chat"] and answer(spoken) == "40715"
    assert together == [alone]
