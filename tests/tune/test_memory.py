"""What training is predicted to take: against MLX's own peak, and in the refusal before a run."""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.cli import main
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import summary
from mlx_gemma4.footprint.estimate import Machine, mac
from mlx_gemma4.hub import catalog
from mlx_gemma4.model.inputs import Inputs
from mlx_gemma4.tune import lora, memory
from mlx_gemma4.tune.train import answer_loss

TWELVE = "google/gemma-4-12B-it"
CPU = Machine("here", 2**40, "", "cpu", 4)


def measured(name: str, tokens: int, recompute: bool) -> int:
    """MLX's peak above weights, adapter and Adam of the gradients of one conversation."""
    model = load_folder(Path(catalog.resolve(name)))
    lora.add(model, 8, 2.0, 0)
    inputs = Inputs(mx.random.normal((1, tokens, 192)), np.zeros(tokens, np.int32))

    def loss() -> mx.array:
        hidden = model.training_hidden(inputs, recompute=recompute)
        return answer_loss(model, hidden[:, -16:], mx.zeros(16, mx.int32))

    mx.eval(inputs.embeddings)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(nn.value_and_grad(model, loss)())
    return mx.get_peak_memory() - before


@pytest.mark.skipif(mx.default_device() != mx.cpu, reason="the bytes were fitted on a CPU")
@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("tokens", [128, 512])
def test_a_step_takes_what_is_predicted(tokens: int, recompute: bool) -> None:
    found = memory.need(summary.of("tiny").model, CPU, tokens, recompute=recompute, answers=16)
    gradients = found.adapter // memory.ADAPTER_COPIES
    predicted = found.activations + gradients
    assert predicted == pytest.approx(measured("tiny", tokens, recompute), rel=0.15)


def test_computing_layers_again_takes_less_than_half() -> None:
    for name in ("tiny", "tiny-4bit"):
        again, kept = (measured(name, 256, recompute) for recompute in (True, False))
        assert again <= 0.5 * kept


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    model, place = summary.of(TWELVE).converted(summary.RECIPES["4bit"]), mac(16)
    memory.check(model, place, 1024)
    with pytest.raises(Gemma4Error) as caught:
        memory.check(model, place, 4096)
    assert caught.value.code == "memory_too_small"
    most = memory.longest(model, place)
    assert f"--longest {most}" in caught.value.remedy
    memory.check(model, place, most)
    assert not memory.fits(model, place, most + 32)


def test_fewer_layers_are_named_where_they_fit() -> None:
    model, place = summary.of(TWELVE).converted(summary.RECIPES["4bit"]), mac(16)
    with pytest.raises(Gemma4Error) as caught:
        memory.check(model, place, 2752)
    layers = int(caught.value.remedy.split("--last-layers ")[1].split(")")[0])
    memory.check(model, place, 2752, last_layers=layers)
    assert not memory.fits(model, place, 2752, 8, layers + 1)


def test_a_larger_rank_takes_its_numbers_five_times() -> None:
    model, place = summary.of(TWELVE).model, mac(64)
    one, other = (memory.need(model, place, 512, rank) for rank in (8, 64))
    assert memory.adapter_numbers(model.text, 64) == 262_275_072
    assert other.adapter == 8 * one.adapter == 5 * 4 * 262_275_072


def test_fit_shows_training_by_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", TWELVE, "--tune", "--memory", "16GB"]) == 0
    shown = capsys.readouterr().out
    (row,) = (line for line in shown.splitlines() if line.startswith("4bit "))
    assert "4,096 tokens" in shown
    assert row.split()[1] == "7.06"
    assert row.split()[-2].endswith("!")
    assert main(["fit", TWELVE, "--tune", "--rank", "0"]) == 2
    assert "--rank" in capsys.readouterr().err
