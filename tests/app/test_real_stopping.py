"""Escape in the middle of a real answer: the tiny model's, which is kept from ending by itself."""

import json
from pathlib import Path

from mlx_gemma4.hub import catalog
from tests.app.terminal import DEMO, Terminal

LINES = "OAKLANE", "2026-06-12", "coffee 4.20", "bread 3.15"
"""The start of the answer; the whole of it, as long as it may be here, takes many seconds."""
SETTINGS = "model = {model}\nmax_tokens = 8000\n"


def endless(folder: Path) -> Path:
    """Make a copy of the tiny model that may not end its turn."""
    tiny = catalog.shipped("assets/tiny")
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json"):
        (folder / name).symlink_to(tiny / name)
    generation = json.loads((tiny / "generation_config.json").read_text())
    generation["suppress_tokens"] += generation["eos_token_id"]
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_escape_in_an_answer_keeps_what_was_said_also_for_another_day(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.settle(SETTINGS.format(model=json.dumps(str(endless(tmp_path / "endless")))))
    terminal.start()
    terminal.until(lambda text: "ready" in text)
    terminal.drop(DEMO / "receipt.png")
    terminal.type("read all lines")
    terminal.press("Enter")
    terminal.until(lambda text: "● answering" in text and LINES[-1] in text)
    terminal.press("Escape")
    drawn = ("tokens ·", "· stopped", "● ready")
    terminal.until(lambda text: all(words in text for words in drawn))
    *_, ended = terminal.entries("ended")
    assert ended["outcome"] == "interrupted" and ended["stats"]["reply_tokens"] < 8000
    terminal.press("C-q")
    terminal.until(lambda text: "❯" not in text)
    terminal.stop()
    # only now: tokens that were on their way when it was stopped are kept, too
    said = "".join(entry["text"] for entry in terminal.entries("said"))
    assert said.startswith("\n".join(LINES))

    terminal.start()
    terminal.until(lambda text: "ready" in text)
    terminal.press("C-r")
    terminal.until(lambda text: "read all lines" in text)
    terminal.press("Enter")
    terminal.until(lambda text: LINES[-1] in text and "· stopped" in text)
    assert said == "".join(entry["text"] for entry in terminal.entries("said"))
