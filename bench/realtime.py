"""Time to the first word of an answer to something spoken, with live hearing and without.

A receipt and five seconds of speech, played in real time over the Realtime API; the time from the
commit to the first delta. Without live hearing (`--hearing off`) nothing is read before the reply
is asked for, as in a server that takes whole turns. The two servers take turns in one run, so that
whatever else the computer does affects both.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve.engine import EngineOptions
from tests.realtime.calling import DEMO, Call, call, pcm, receipt
from tests.serve.serving import ASSETS, served

SPEECH = [DEMO / "digits.wav", DEMO / "follow-up.wav", DEMO / "question.wav"]


def measured(one: Call, question: bytes) -> tuple[float, int]:
    """Seconds from the commit to the first delta, and the tokens that were left to read then."""
    by_hand = {"input": {"turn_detection": None}}
    one.update(output_modalities=["text"], temperature=0, audio=by_hand)
    one.item(receipt())
    one.append(question, real_time=True)
    started = time.perf_counter()
    one.send("input_audio_buffer.commit")
    one.send("response.create")
    one.until("response.output_text.delta")
    seconds = time.perf_counter() - started
    usage = one.until("response.done")["response"]["usage"]
    return seconds, usage["input_tokens"] - usage["input_token_details"]["cached_tokens"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ASSETS / "tiny"))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--speech", type=Path, nargs="*", default=SPEECH)
    options = parser.parse_args()
    question = b"".join(map(pcm, options.speech))
    made = EngineOptions(options.model)
    runs: dict[str, list[tuple[float, int]]] = {"live": [], "off": []}
    with (
        served(SubprocessWorker(), made) as live,
        served(SubprocessWorker(), replace(made, live=False)) as off,
    ):
        for number in range(options.runs + 1):
            for name, client in (("live", live), ("off", off)):
                with call(client) as one:
                    result = measured(one, question)
                if number:  # the first one warms up
                    runs[name].append(result)
    medians = {name: statistics.median(s for s, _ in found) for name, found in runs.items()}
    for name, found in runs.items():
        left = statistics.median(tokens for _, tokens in found)
        print(f"{name}: median {1000 * medians[name]:.0f} ms, {left:.0f} tokens left to read")
    print(f"ratio {medians['off'] / medians['live']:.1f} over {options.runs} runs each")


if __name__ == "__main__":
    main()
