"""What leaves the leader, captured: no id, text, picture or sound is in it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mlx_gemma4
from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.media.audio import frames
from mlx_gemma4.session.session import Session
from mlx_gemma4.testing.doubles import tones
from tests.cluster.processes import lead

MODULE = "tests.cluster.test_privacy"
WORDS = "zebra quartz umbrella"
RECORDED = ("control-there", "control-back", "ring-to-worker-there", "ring-to-leader-there")


def command(script: str, *arguments: str) -> str:
    path = Path(__file__).with_name(script)
    return shlex.join([sys.executable, str(path), *arguments])


def talk(folder: str, place: str) -> dict[str, Any]:
    """In a leader: a conversation whose bytes are recorded; what must not be among them, as hex."""
    hosts = Hosts(("local",), command=command("recording_worker.py", place), patience=120)
    model = mlx_gemma4.load(folder, hosts=hosts)
    session = Session(model, system="a secret instruction", hearing="direct")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    patches = session.add_image(Image.fromarray(pixels), 70).patches
    heard = frames(tones([300, 2000], 1.0))
    session.add_audio(tones([300, 2000], 1.0), 16000)
    session.add_text(WORDS)
    *_, done = session.reply(12, temperature=1.0, seed=1)
    ids = list(done.ids)
    ids += [number for number in session.turns[-1].ids]
    tokenizer = session._conversation._tokenizer
    spoken = tokenizer.encode(WORDS)
    marks = {
        "text": WORDS.encode(),
        "a word": b"umbrella",
        "system": b"a secret instruction",
        "a picture's levels": patches[5, 100:164].tobytes(),
        "a picture in float32": (patches[5, 100:164] / np.float32(255)).tobytes(),
        "a picture's pixels": pixels[10, :20].tobytes(),
        "sound": heard[3, 100:132].tobytes(),
    }
    for name, some in {"the question's ids": spoken[:4], "the answer's ids": ids[:4]}.items():
        marks |= {f"{name} as {kind}": np.array(some, kind).tobytes() for kind in ("<i4", "<i8")}
        marks[f"{name} as JSON"] = json.dumps(some)[1:-1].encode()
    answer = "".join(getattr(part, "text", "") for part in session.turns[-1].parts)
    marks["the answer"] = answer.encode()
    return {name: value.hex() for name, value in marks.items()}


def test_no_id_text_picture_or_sound_leaves_the_leader(
    folders: dict[str, str], tmp_path: Path
) -> None:
    marks = lead(MODULE, "talk", folders["tiny fp32"], str(tmp_path))
    recorded = {name: (tmp_path / name).read_bytes() for name in RECORDED}
    # what does travel is there, so that nothing was overlooked
    assert b'["step", ' in recorded["control-there"]
    assert b'["logits", 1]' in recorded["control-there"]
    hidden = 64 * 4
    assert len(recorded["ring-to-worker-there"]) > 100 * hidden  # rows, and layers before them
    assert len(recorded["ring-to-leader-there"]) > 8 * hidden
    found = [
        (mark, name)
        for mark, value in marks.items()
        for name, data in recorded.items()
        if bytes.fromhex(value) in data
    ]
    assert len(marks) == 14
    assert all(len(value) >= 2 * 6 for value in marks.values())
    assert found == []
