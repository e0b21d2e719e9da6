"""`gemma4 tune` and `gemma4 eval tuned`, up to what they train and ask."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from app.conversation.entries import Attachment, AttachmentAdded
from mlx_gemma4.checkpoint import adapters
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.cli import main
from mlx_gemma4.cli.tune import read_lines
from mlx_gemma4.hub import catalog, conversations
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.tune import comparison, replay
from mlx_gemma4.tune.data import Data
from tests.tune.test_adapters import made
from tests.tune.test_journal import answer, question, written

TINY = catalog.resolve(catalog.DEMONSTRATION)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 41 * 16_000)
    soundfile.write(folder / "a.wav", noise[:4000], 16_000)
    soundfile.write(tmp_path / "long.wav", noise, 16_000)
    (folder / "a.txt").write_text("tea")
    return folder


@pytest.mark.parametrize(
    "command", [["tune", "{}"], ["eval", "tuned", "--adapter", "some", "--data", "{}"]]
)
def test_a_model_with_an_adapter_is_refused(
    command: list[str], sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [part.format(sounds) for part in command]
    assert main([*filled, "--model", "tiny:receipts"]) == 2
    assert "tiny:receipts is a model with an adapter." in capsys.readouterr().err


def test_data_of_a_user_that_is_not_there_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "~no-such-user/lines.jsonl", "--model", "tiny", "--dry-run"]) == 2
    assert "Cause: ~no-such-user/lines.jsonl: No such file" in capsys.readouterr().err


def test_eval_asks_about_a_sound_what_was_learned(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Data] = []

    def right(model: Gemma4, data: Data, *_: Any) -> list[bool]:
        asked.append(data)
        return [True]

    monkeypatch.setattr(comparison, "right", right)
    adapters.write(made(load_folder(TINY)), tmp_path / "adapter")
    given = ["--adapter", str(tmp_path / "adapter"), "--data", str(sounds)]
    assert main(["eval", "tuned", "--model", str(TINY), *given]) == 0
    learned = [line.content for line in read_lines(str(sounds), "tiny")]
    assert [line.content for line in asked[0].lines] == learned
    assert "Transcribe the sound" in json.dumps(learned)


def test_replay_asks_nothing_about_a_conversation_that_is_left_out(
    folder: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[replay.Part]] = []

    def draw(model: Gemma4, questions: Sequence[list[replay.Part]], *_: Any) -> Iterator[int]:
        asked.extend(questions)
        raise KeyboardInterrupt

    monkeypatch.setattr(replay, "draw", draw)
    place = conversations.folder()
    written(place, "a", *question(1, "one"), *answer(2, "yes")).close()
    sound = AttachmentAdded(Attachment(1, "sound", 1, "long.wav", "talk.wav", None, 41.0))
    written(place, "b", sound, *question(1, "what is it"), *answer(2, "tea")).close()
    (tmp_path / "long.wav").rename(place / "b" / "long.wav")
    command = ["tune", "--journal", "--replay", "auto", "-o", str(tmp_path / "new")]
    assert main([*command, "--model", str(folder)]) == 130
    assert asked
    assert not any("long.wav" in part.get("path", "") for one in asked for part in one)
