"""The demonstration model with its drafter, as they are shipped."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4 import load
from mlx_gemma4.checkpoint.drafter import load_drafter
from mlx_gemma4.checkpoint.recipes import named
from mlx_gemma4.cli import main
from mlx_gemma4.convert.convert import convert
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import drafter as asked
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, Tasks
from mlx_gemma4.events import Done, Event, Heard, Token
from mlx_gemma4.hub import catalog, speculation
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.hub.speculation import MeasuredGain
from mlx_gemma4.media.audio import RATE, read_sound
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.session import Session

ASSETS = Path(__file__).parents[2] / "assets"
FOLDER = ASSETS / "tiny-drafter"


@pytest.fixture(scope="module")
def tiny() -> Gemma4:
    return load("tiny", drafter="tiny-drafter")


def told(events: list[Event]) -> list[tuple[str, object]]:
    return [(type(e).__name__, e.text) for e in events if isinstance(e, Token | Heard)]


def done_of(events: list[Event]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def test_it_is_small_and_the_models_own() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
    for name in ("tiny", "tiny-4bit"):
        assert catalog.drafter_of(catalog.packages()[name]) == FOLDER


def test_a_receipt_takes_a_third_of_the_forwards_and_is_read_the_same(tiny: Gemma4) -> None:
    tokens = forwards = 0
    tasks = Tasks(5, EXAMINATION)
    for exchange in (tasks.asked("lines")[0] for _ in range(2)):
        answers = []
        for draft in ("off", 4):
            session = Session(tiny, draft=draft)  # type: ignore[arg-type]
            assert exchange.drawing is not None
            session.add_image(exchange.drawing.image, 70)
            session.add_text(exchange.question)
            events = list(session.reply(160, temperature=0))
            answers.append(told(events))
        assert answers[0] == answers[1]
        tokens += int(done_of(events).stats["reply_tokens"])
        forwards += int(done_of(events).stats["target_forwards"])
    assert tokens / forwards >= 3.5


@pytest.mark.parametrize("hearing", ["relay", "direct"])
def test_transcripts_are_the_same_with_a_drafter(tiny: Gemma4, hearing: str) -> None:
    sound = read_sound(ASSETS / "demo" / "digits.wav")
    results = []
    for draft in ("off", 4):
        session = Session(tiny, hearing=hearing, draft=draft)  # type: ignore[arg-type]
        session.add_audio(sound.samples, RATE)
        events = list(session.reply(60, temperature=0, heard=True))
        results.append((told(events), [turn.ids for turn in session.turns]))
    assert results[0] == results[1]
    assert results[0][0]


@pytest.mark.parametrize("recipe", ["8bit", "4bit"])
def test_a_converted_drafter_proposes_nearly_the_same(
    tiny: Gemma4, recipe: str, tmp_path: Path
) -> None:
    made = convert(Folder(FOLDER), tmp_path / "made", named(recipe))
    assert made is not None
    size = (made / "model.safetensors").stat().st_size
    assert size < (FOLDER / "model.safetensors").stat().st_size * (0.7 if recipe == "8bit" else 0.5)
    cache = tiny.make_cache()
    hidden = tiny.hidden(tiny.embed(np.arange(20, 60)), cache)[:, -1:]
    logits = []
    for drafter in (tiny.drafter, load_drafter(made, tiny)):
        shared = drafter.shared_layers(tiny, cache)
        found, _ = drafter(tiny, shared, mx.array([40]), hidden, cache.offset - 1)
        logits.append(np.array(found[0]))
    one, other = logits
    assert np.corrcoef(one, other)[0, 1] > (0.999 if recipe == "8bit" else 0.95)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gemma4_assistant"}, "centroids"),
        ({"use_ordered_embeddings": True}, "centroids"),
        ({"model_type": "gemma4_unified"}, "model_type"),
        ({"backbone_hidden_size": 3840}, "backbone_hidden_size is 3840"),
        ({"text_config.vocab_size": 512}, "vocab_size is 512"),
        ({"text_config.head_dim": 32}, "head_dim is 32"),
        ({"text_config.sliding_window": 1024}, "sliding_window is 1024"),
        ({"text_config.num_kv_shared_layers": 2}, "num_kv_shared_layers"),
    ],
)
def test_what_is_no_drafter_of_the_model_is_refused_by_name(
    tiny: Gemma4, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    for name, value in change.items():
        section = config["text_config"] if "." in name else config
        section[name.split(".")[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes())
    with pytest.raises(Gemma4Error, match=said):
        load_drafter(tmp_path, tiny)


def test_a_drafter_is_no_model_and_a_model_no_drafter() -> None:
    with pytest.raises(Gemma4Error) as error:
        load("tiny", drafter="tiny")
    assert error.value.code == "not_a_drafter"
    with pytest.raises(Gemma4Error) as error:
        load("tiny-drafter")
    assert error.value.code == "not_a_model"


def test_auto_does_what_was_measured_on_this_machine() -> None:
    folder, here = ASSETS / "tiny", platform.node()
    assert speculation.choose(folder, "auto", None) == (None, "off")
    good, bad = {"prose": 1.4, "code": 1.2}, {"prose": 1.4, "code": 0.8}
    for gain, expected in (
        (MeasuredGain(here, str(FOLDER), good, good), (FOLDER, "auto")),
        (MeasuredGain(here, str(FOLDER), bad, good), (None, "lookup")),
        (MeasuredGain(here, str(FOLDER), bad, bad), (None, "off")),
        (MeasuredGain("another", str(FOLDER), good, good), (None, "off")),
        (MeasuredGain(here, "", {}, {"prose": 0.98}), (None, "lookup")),
    ):
        speculation.keep(folder, gain)
        assert speculation.choose(folder, "auto", None) == expected
    assert speculation.choose(folder, 4, None) == (FOLDER, 4)
    assert speculation.choose(folder, "off", FOLDER) == (None, "off")
    assert load("tiny", draft=3).drafter is not None


def test_what_bench_measures_is_kept_and_decides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asked, "TINY", {"a value": asked.TINY["a value"]})
    assert main(["bench", "--draft", "--model", "tiny", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    gain = speculation.measured(ASSETS / "tiny")
    assert gain is not None and gain.drafter == str(FOLDER)
    assert set(gain.auto) == set(gain.lookup) == {"a value"}
    assert "auto (a forward)" in out and f"{gain.auto['a value']:.2f} (" in out
    chosen = speculation.choose(ASSETS / "tiny", "auto", None)
    assert ("is used from now on" in out) == (chosen != (None, "off"))
