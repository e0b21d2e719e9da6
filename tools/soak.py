"""Use a server for a long time: `python -m tools.soak --minutes 30`; status 1 where it suffers.

Four clients ask about a picture, a sound and texts, continue their conversations, and leave in the
middle of answers or while they wait. Memory must stay flat, nothing may fail or be answered wrong,
and no slot may be lost. Needs Linux's /proc for the memory of a process.
"""

import argparse
import base64
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "assets" / "demo"
CHAT = "/v1/chat/completions"
CLIENTS, SLOTS = 4, 2
FLAT = 2.0  # MB a minute, in the second half
QUESTIONS = ("what is the total?", "what is the tax", "How many items are there?")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    run = "from mlx_gemma4.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", run, "serve", "--port", "0", "--slots", str(SLOTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        base = re.search(r"http\S+(?=/v1)", server.stdout.readline())
        assert base is not None, "the server does not listen"
        try:
            return soak(base[0], server.pid, minutes)
        finally:
            server.terminate()


def soak(base: str, pid: int, minutes: float) -> int:
    """Use the server, and print what came of it."""
    with httpx2.Client(base_url=base, timeout=120) as client:
        while client.get("/health").status_code != 200:
            time.sleep(0.2)
        until = time.monotonic() + 60 * minutes
        done: Counter[str] = Counter()
        threads = [
            threading.Thread(target=use, args=(base, number, until, done))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        samples: list[tuple[float, float]] = []
        while time.monotonic() < until:
            samples.append((time.monotonic() / 60, megabytes(pid)))
            time.sleep(min(5.0, 6 * minutes))
        for thread in threads:
            thread.join()
        time.sleep(1)
        figures = dict(re.findall(r"^(gemma4_\w+) (\d+)$", client.get("/metrics").text, re.M))
    at, held = np.array(samples[len(samples) // 2 :]).T
    slope = float(np.polyfit(at, held, 1)[0]) if len(at) > 2 else 0.0
    lost = int(figures["gemma4_slots_busy"]) + int(figures["gemma4_requests_waiting"])
    print(f"{minutes:g} minutes, {sum(done.values())} requests: {dict(done)}")
    print(f"memory {samples[0][1]:.0f} -> {samples[-1][1]:.0f} MB, {slope:+.2f} MB a minute")
    print(f"slots or requests left: {lost}; restarts {figures['gemma4_worker_restarts_total']}")
    restarts = int(figures["gemma4_worker_restarts_total"])
    faults = done["failed"] + done["wrong"] + lost + restarts
    return int(faults > 0 or slope > FLAT)


def use(base: str, number: int, until: float, done: Counter[str]) -> None:
    """Be one client."""
    choice = random.Random(number)
    with httpx2.Client(base_url=base, timeout=120) as client:
        while time.monotonic() < until:
            asked, right = content(choice)
            messages = [{"role": "user", "content": asked}]
            for _ in range(choice.randint(1, 4)):
                body = {"messages": messages, "max_tokens": 24, "temperature": 0}
                if choice.random() < 0.2:
                    done["left"] += leave(client, {**body, "stream": True, "max_tokens": 200})
                    break
                answer = client.post(CHAT, json=body)
                done["answered" if answer.status_code == 200 else "failed"] += 1
                if answer.status_code != 200:
                    print(answer.status_code, answer.text, file=sys.stderr)
                    break
                text = answer.json()["choices"][0]["message"]["content"]
                done["wrong"] += right not in ("", text)
                right = ""
                messages += [{"role": "assistant", "content": text}]
                messages += [{"role": "user", "content": choice.choice(QUESTIONS)}]


def leave(client: httpx2.Client, body: dict[str, Any]) -> int:
    """Start to read an answer, or wait for one a moment, and disconnect."""
    patience = 0.05 if len(body["messages"]) > 1 else 120
    with suppress(httpx2.TimeoutException):
        with client.stream("POST", CHAT, json=body, timeout=patience) as answer:
            next(answer.iter_lines(), None)
    return 1


def content(choice: random.Random) -> tuple[Any, str]:
    """What a conversation starts with, and its answer where there is one."""
    kind = choice.choice(("picture", "sound", "text"))
    if kind == "text":
        return choice.choice(QUESTIONS) + " word" * choice.randint(0, 300), ""
    if kind == "sound":
        data = base64.b64encode((DEMO / "digits.wav").read_bytes()).decode()
        return [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}], "40715"
    data = base64.b64encode((DEMO / "receipt.png").read_bytes()).decode()
    url = {"url": f"data:image/png;base64,{data}"}
    asked = [{"type": "text", "text": QUESTIONS[0]}, {"type": "image_url", "image_url": url}]
    return asked, "19.56"


def megabytes(pid: int) -> float:
    """The memory of a process and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    statuses = [Path(f"/proc/{one}/status").read_text() for one in (pid, *children)]
    return sum(int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) for text in statuses) / 1024


if __name__ == "__main__":
    sys.exit(main())
