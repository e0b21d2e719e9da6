import itertools
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.checkpoint.recipes import RECIPES, Storage, uniform
from mlx_gemma4.convert import budget, plan, rewrite, sensitivity
from mlx_gemma4.convert.budget import BITS, spend, within
from mlx_gemma4.convert.convert import convert
from mlx_gemma4.convert.plan import make_plan
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import cache as hub_cache
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.model.config import load_config
from mlx_gemma4.testing.doubles import tiny_config
from tests.unit.checkpoints import publish
from tests.unit.test_convert import put

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny"
DECODER = "language_model.model"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    publish(tmp_path / "published")
    return tmp_path / "published"


@st.composite
def things(draw: st.DrawFn) -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """Up to four matrices of some weights whose losses fall by three or more with each bit."""
    sizes, losses = {}, {}
    for n in range(draw(st.integers(1, 4))):
        weights_of = draw(st.integers(1, 50))
        first, rate = draw(st.floats(0.1, 100)), draw(st.floats(3, 5))
        sizes[str(n)] = [weights_of * bits for bits in BITS]
        losses[str(n)] = [first * rate ** -(bits - BITS[0]) for bits in BITS]
    return sizes, losses


@settings(deadline=None, max_examples=60)
@given(things(), st.integers(0, 600))
def test_no_choice_that_is_a_step_smaller_loses_less(
    given_things: tuple[dict[str, list[int]], dict[str, list[float]]], room: int
) -> None:
    sizes, losses = given_things
    taken = spend(sizes, losses, room)

    def cost(choice: dict[str, int]) -> int:
        return sum(sizes[name][step] - sizes[name][0] for name, step in choice.items())

    def lost(choice: dict[str, int]) -> float:
        return sum(losses[name][step] for name, step in choice.items())

    assert cost(taken) <= room
    step = max(b - a for rising in sizes.values() for a, b in itertools.pairwise(rising))
    for steps in itertools.product(range(len(BITS)), repeat=len(sizes)):
        other = dict(zip(sizes, steps, strict=True))
        if cost(other) <= room - step:
            assert lost(taken) <= lost(other) * (1 + 1e-9)


@pytest.mark.parametrize("name", ["4bit", "4bit-small", "5bit", "8bit"])
def test_a_budget_is_kept_and_nearly_used_up(name: str, published: Path, tmp_path: Path) -> None:
    source = Folder(published)
    size = make_plan(source, RECIPES[name]).nbytes
    recipe = within(source, size, tmp_path / "losses.json")
    assert recipe is not None
    used = make_plan(source, recipe).nbytes
    assert size * 0.98 < used <= size
    folder = convert(source, tmp_path / "out", recipe)
    assert folder is not None
    chosen = load_config(folder).quantization
    assert chosen is not None
    bits = {entry["bits"] for entry in chosen.values() if isinstance(entry, dict)}
    assert bits | {chosen["bits"]} <= set(BITS)
    assert load_folder(folder).forward(np.arange(20, 30)).shape == (1, 10, 512)


def test_too_few_bytes_are_refused_with_the_least_that_is_needed(
    published: Path, tmp_path: Path
) -> None:
    with pytest.raises(Gemma4Error, match="budget is too small") as caught:
        within(Folder(published), 1000, tmp_path / "losses.json")
    assert "Allow at least" in caught.value.remedy


def test_a_cut_run_goes_on_without_measuring_again_and_ends_with_the_same_bytes(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_FILE", 100_000)
    monkeypatch.setattr(rewrite, "_ROWS", 20_000)
    size = make_plan(Folder(published), RECIPES["4bit"]).nbytes

    def run(name: str, stop_after: int | None) -> Path | None:
        source, seen = Folder(published), list[object]()
        recipe = within(source, size, tmp_path / f"{name}.json")
        assert recipe is not None
        return convert(
            source,
            tmp_path / name,
            recipe,
            seen.append,
            lambda: stop_after is not None and len(seen) > stop_after,
        )

    whole = run("whole", None)
    assert run("cut", 60) is None
    monkeypatch.setattr(budget, "losses", None)
    cut = run("cut", None)
    assert whole is not None and cut is not None
    for file in whole.iterdir():
        assert (cut / file.name).read_bytes() == file.read_bytes()


def test_what_was_measured_of_another_source_is_not_used(published: Path, tmp_path: Path) -> None:
    size = make_plan(Folder(published), RECIPES["4bit"]).nbytes
    kept = tmp_path / "losses.json"
    kept.write_text('{"source": "another", "losses": {}}')
    assert within(Folder(published), size, kept) is not None
    assert '"another"' not in kept.read_text()


def test_shares_of_the_stream_add_up_with_what_is_left_of_the_embeddings() -> None:
    text = tiny_config().text_config
    power = {f"{DECODER}.embed_tokens": 2.0}
    for n in range(len(text.layer_types)):
        layer = f"{DECODER}.layers.{n}"
        power |= {
            f"{layer}.post_attention_layernorm": 0.5 + n,
            f"{layer}.post_feedforward_layernorm": 0.25 + n,
            f"{layer}.layer_scalar": 0.64,
        }
    parts = sensitivity.shares(text, power)
    stream = 2.0 * text.hidden_size
    for n in range(len(text.layer_types)):
        stream = (stream + 0.75 + 2 * n) * 0.64
    embeddings = 2.0 * text.hidden_size * 0.64 ** len(text.layer_types)
    assert sum(parts.values()) == pytest.approx(1 - embeddings / stream)
    assert parts[f"{DECODER}.layers.0.mlp"] < parts[f"{DECODER}.layers.1.mlp"]


def test_a_sample_of_rows_is_as_wrong_as_all_of_them(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, text = Folder(published), tiny_config().text_config
    planned = make_plan(source, uniform(4, 64))
    choices = {
        part.name.removesuffix(".weight"): [Storage(32, bits) for bits in (3, 8)]
        for file in planned.files
        for part in file.parts
        if part.storage is not None
    }
    measured = sensitivity.losses(source, text, planned.files, choices, lambda _: None)
    monkeypatch.setattr(sensitivity, "_SAMPLE", 2048)
    sampled = sensitivity.losses(source, text, planned.files, choices, lambda _: None)
    assert measured is not None and sampled is not None and measured != sampled
    for path, (three, eight) in measured.items():
        assert three > 100 * eight
        assert sampled[path] == pytest.approx([three, eight], rel=0.35)


def test_the_estimate_ranks_the_tiny_models_matrices_as_their_true_losses_do() -> None:
    source = Folder(TINY)
    text = load_config(TINY).text_config
    planned = make_plan(source, uniform(3, 64))
    stored = {
        part.name.removesuffix(".weight"): part.storage
        for file in planned.files
        for part in file.parts
        if part.storage is not None
    }
    choices = {path: [storage] for path, storage in stored.items()}
    estimated = sensitivity.losses(source, text, planned.files, choices, lambda _: None)
    assert estimated is not None
    model = load_folder(TINY)
    ids = np.random.default_rng(0).integers(32, text.vocab_size, 48)

    def logs() -> mx.array:
        logits = model.forward(ids)[0]
        return logits - mx.logsumexp(logits, axis=-1, keepdims=True)

    full, modules, true = logs(), dict(model.named_modules()), {}
    for path, storage in stored.items():
        module = modules[path]
        weight = module.weight
        packed = mx.quantize(weight, storage.group_size, storage.bits)
        module.weight = mx.dequantize(*packed, storage.group_size, storage.bits)
        true[path] = (mx.exp(full) * (full - logs())).sum(-1).mean().item()
        module.weight = weight
    ranks = [np.argsort(np.argsort([v[path] for path in stored])) for v in (
        {path: loss[0] for path, loss in estimated.items()}, true)]  # fmt: skip
    assert np.corrcoef(*ranks)[0, 1] > 0.6


def test_a_source_in_shards_is_measured_like_one_file(published: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    tensors: dict[str, mx.array] = {}
    for file in published.glob("*.safetensors"):
        tensors |= mx.load(str(file))
    mx.save_safetensors(str(one / "model.safetensors"), tensors)
    for file in published.iterdir():
        if file.suffix == ".json" and file.name != hub_cache.INDEX:
            (one / file.name).write_bytes(file.read_bytes())
    size = make_plan(Folder(published), RECIPES["4bit"]).nbytes
    recipes = [
        within(Folder(folder), size, tmp_path / f"{folder.name}.json")
        for folder in (published, one)
    ]
    assert recipes[0] == recipes[1]


def test_a_damaged_source_is_refused_and_nothing_of_it_is_kept(
    published: Path, tmp_path: Path
) -> None:
    size = make_plan(Folder(published), RECIPES["4bit"]).nbytes
    put(published, "layers.1.mlp.down_proj.weight", mx.bfloat16, mx.nan)
    with pytest.raises(Gemma4Error, match="down_proj.weight holds NaN or infinity"):
        within(Folder(published), size, tmp_path / "kept.json")
    assert not (tmp_path / "kept.json").exists()
