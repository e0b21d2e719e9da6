"""Both published forms of a config, what is added to it, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mlx_gemma4.checkpoint.architectures import ARCHITECTURES
from mlx_gemma4.checkpoint.shapes import shapes
from mlx_gemma4.cli.selftest import random_checkpoint
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.model.config import FULL, SLIDING, Config, load_config
from mlx_gemma4.testing.doubles import tiny_config

ORACLE = random_checkpoint.CONFIG


@pytest.fixture
def published() -> dict[str, Any]:
    return json.loads(ORACLE.read_text())


def test_a_published_config_is_read_key_by_key(published: dict[str, Any]) -> None:
    config = Config.from_dict(published)
    text = config.text_config
    assert (text.hidden_size, text.head_dim, text.global_head_dim) == (256, 64, 128)
    assert (text.num_key_value_heads, text.num_global_key_value_heads) == (2, 1)
    assert text.layer_types == ((SLIDING,) * 5 + (FULL,)) * 2
    assert text.rotated_dims == 32  # a quarter of 128
    assert (config.image_token_id, config.eoa_token_id, config.eos_token_ids) == (1000, 1006, (1,))
    assert config.vision_config is not None and config.vision_config.patch_width == 6912
    assert config.audio_config is not None and config.audio_config.audio_embed_dim == 640
    assert (config.temperature, config.top_p, config.top_k) == (1.0, 0.95, 64)
    assert config.suppress_tokens == () and config.quantization is None


def test_the_form_of_new_transformers_is_the_same_config(published: dict[str, Any]) -> None:
    per_layer = copy.deepcopy(published)
    del per_layer["text_config"]["global_head_dim"]
    del per_layer["text_config"]["num_global_key_value_heads"]
    sizes = {"head_dim": 128, "num_key_value_heads": 1}
    per_layer["text_config"]["per_layer_config"] = {"5": sizes, "11": sizes}
    assert Config.from_dict(per_layer) == Config.from_dict(published)


def test_full_layers_have_their_own_number_of_kv_heads_only_with_k_eq_v(
    published: dict[str, Any],
) -> None:
    published["text_config"]["attention_k_eq_v"] = False
    assert Config.from_dict(published).text_config.num_global_key_value_heads == 2


def test_layer_types_may_be_left_out(published: dict[str, Any]) -> None:
    expected = Config.from_dict(published).text_config.layer_types
    del published["text_config"]["layer_types"]
    assert Config.from_dict(published).text_config.layer_types == expected


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_generation_settings_and_the_picture_budget_come_from_their_files(
    published: dict[str, Any], tmp_path: Path
) -> None:
    generation = {
        "eos_token_id": [1, 106, 50],
        "suppress_tokens": [258883, 258882],
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
    }
    processor = {"image_seq_length": 280, "image_processor": {"max_soft_tokens": 70}}
    folder = write(
        tmp_path, config=published, generation_config=generation, processor_config=processor
    )
    config = load_config(folder)
    assert config.eos_token_ids == (1, 50, 106)
    assert config.suppress_tokens == (258883, 258882)
    assert (config.temperature, config.top_p, config.top_k) == (0.7, 0.8, 20)
    assert config.image_tokens == 70


@pytest.mark.parametrize(
    ("files", "budget"),
    [
        ({"preprocessor_config": {"max_soft_tokens": 140}}, 140),
        ({"processor_config": {"image_seq_length": 560}}, 560),
        ({}, 280),
    ],
)
def test_the_picture_budget_has_other_places_too(
    published: dict[str, Any], tmp_path: Path, files: dict[str, Any], budget: int
) -> None:
    assert load_config(write(tmp_path, config=published, **files)).image_tokens == budget


REFUSED = {
    "another model": ({"model_type": "llama"}, {}, "'llama'"),
    "no decoder": ({"text_config": None}, {}, "no text_config"),
    "a missing size": ({}, {"hidden_size": None}, "no hidden_size"),
    "a size of the wrong type": ({}, {"hidden_size": "256"}, "hidden_size in text_config is '256'"),
    "a size of zero": ({}, {"head_dim": 0}, "head_dim in text_config is 0"),
    "true where a number belongs": ({}, {"sliding_window": True}, "sliding_window"),
    "projection biases": ({}, {"attention_bias": True}, "attention_bias"),
    "another activation": ({}, {"hidden_activation": "silu"}, "'silu'"),
    "layers that share keys": ({}, {"num_kv_shared_layers": 4}, "num_kv_shared_layers"),
    "attention both ways": ({}, {"use_bidirectional_attention": "all"}, "'all'"),
    "an output head of its own": ({"tie_word_embeddings": False}, {}, "tie_word_embeddings"),
    "too few layer types": ({}, {"layer_types": [FULL]}, "1 entries"),
    "an unknown layer type": ({}, {"layer_types": ["linear"] * 12}, "linear"),
    "heads that do not divide": ({}, {"num_key_value_heads": 3}, "cannot share 3 KV heads"),
    "full layers that differ": (
        {},
        {"per_layer_config": {"5": {"head_dim": 128}, "11": {"head_dim": 64}}},
        "all full layers must be alike",
    ),
    "another rope": (
        {},
        {"rope_parameters": {FULL: {"rope_type": "yarn", "rope_theta": 1e6}}},
        "'yarn'",
    ),
    "another library's quantization": (
        {"quantization_config": {"quant_method": "fp8"}},
        {},
        "not MLX's",
    ),
    "eos ids that are words": ({"eos_token_id": ["stop"]}, {}, "eos_token_id"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_built_is_refused_by_name(published: dict[str, Any], case: str) -> None:
    top, text, words = REFUSED[case]
    published.update(top)
    if published["text_config"]:
        published["text_config"].update(text)
    with pytest.raises(Gemma4Error) as caught:
        Config.from_dict(published)
    assert words in caught.value.cause and caught.value.remedy


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "nowhere", "not there"),
        (Path(__file__), "a file"),
        (tmp_path, "no config.json"),
    ):
        with pytest.raises(Gemma4Error, match=words):
            load_config(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x01"])
def test_a_config_that_is_no_json_object_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(Gemma4Error, match=r"config\.json"):
        load_config(tmp_path)


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        tiny_config().image_tokens = 70  # type: ignore[misc]


HEADS = {"head_dim": 128, "num_key_value_heads": 1}
SAME = {"head_dim": 64, "num_key_value_heads": 2}  # as in the text_config itself


@pytest.mark.parametrize(
    "layers",
    [
        {"05": HEADS, "11": HEADS},
        {f"{n:02}": HEADS if n in (5, 11) else SAME for n in range(12)},
        {f"{n:02}": HEADS if n in (5, 11) else {} for n in range(12)},
        {"5": {**HEADS, "sliding_window": 512}, "11": HEADS},
    ],
)
def test_layers_may_be_numbered_with_zeros_and_all_be_listed(
    published: dict[str, Any], layers: dict[str, Any]
) -> None:
    expected = Config.from_dict(copy.deepcopy(published))
    text = published["text_config"]
    text["sliding_window"] = expected.text_config.sliding_window
    del text["global_head_dim"], text["num_global_key_value_heads"]
    for entry in layers.values():
        if "sliding_window" in entry:
            entry["sliding_window"] = text["sliding_window"]
    text["per_layer_config"] = layers
    assert Config.from_dict(published) == expected


def test_the_12bs_layers_in_the_form_of_new_transformers_are_the_published_shapes() -> None:
    config = copy.deepcopy(dict(ARCHITECTURES["gemma-4-12B"]))
    expected = Config.from_dict(config)
    text = config["text_config"] = dict(config["text_config"])
    del text["global_head_dim"], text["num_global_key_value_heads"]
    own = ({"head_dim": 256, "num_key_value_heads": 8}, {"head_dim": 512, "num_key_value_heads": 1})
    text["per_layer_config"] = {f"{n:02}": own[n % 6 == 5] for n in range(48)}
    assert shapes(Config.from_dict(config)) == shapes(expected)
    assert Config.from_dict(config).text_config == expected.text_config


@pytest.mark.parametrize(
    "layers, words",
    [
        ({"05": HEADS, "11": HEADS, "5": {"head_dim": 32}}, "two entries for layer 5"),
        ({"12": HEADS}, "'12' of 12"),
        ({"1" * 5000: HEADS}, "'111.* of 12"),
        ({"-1": HEADS}, "'-1' of 12"),
        ({"five": HEADS}, "'five'"),
        ({"05": [128, 1]}, "layer 05"),
        ([HEADS], "not an object"),
        ({"05": HEADS, "11": HEADS, "00": {"head_dim": 32}}, "no sliding layer"),
        (
            {"05": {"rope_theta": 1.0}, "11": {"rope_theta": 1.0}},
            "head_dim and num_key_value_heads",
        ),
        ({"05": {"head_dim": "128"}, "11": {"head_dim": "128"}}, "'128'"),
    ],
)
def test_layers_that_differ_otherwise_are_refused_by_name(
    published: dict[str, Any], layers: object, words: str
) -> None:
    published["text_config"]["per_layer_config"] = layers
    with pytest.raises(Gemma4Error, match=words):
        Config.from_dict(published)


@pytest.mark.parametrize(
    "generation, temperature",
    [
        ({"do_sample": False, "temperature": 1.0}, 0.0),
        ({"do_sample": True, "temperature": 0.5}, 0.5),
        ({"do_sample": None}, 1.0),
        ({}, 1.0),
    ],
)
def test_a_folder_that_does_not_sample_is_greedy(
    published: dict[str, Any], generation: dict[str, Any], temperature: float
) -> None:
    assert Config.from_dict(published, generation).temperature == temperature


@pytest.mark.parametrize(
    "file, content, words",
    [
        ("generation_config", {"do_sample": "false"}, "do_sample"),
        ("generation_config", {"temperature": -1}, "temperature"),
        ("generation_config", {"top_p": 7}, "top_p"),
        ("generation_config", {"top_k": 10**400}, "top_k"),
        ("generation_config", {"suppress_tokens": [True]}, "suppress_tokens"),
        ("processor_config", {"image_processor": "Gemma4Processor"}, "image_processor"),
        ("processor_config", {"image_seq_length": "280"}, "image_seq_length"),
        ("preprocessor_config", {"max_soft_tokens": [70]}, "max_soft_tokens"),
        ("processor_config", [1], "a list"),
        ("processor_config", None, "null"),
    ],
)
def test_whatever_the_files_beside_it_hold_is_named(
    published: dict[str, Any], tmp_path: Path, file: str, content: object, words: str
) -> None:
    with pytest.raises(Gemma4Error, match=words) as caught:
        load_config(write(tmp_path, config=published, **{file: content}))
    assert file in caught.value.cause


@pytest.mark.parametrize(
    "key, value, most",
    [
        ("num_hidden_layers", 10**7, "1,024"),
        ("hidden_size", 10**9, "1,048,576"),
        ("vocab_size", 2**40, "4,194,304"),
        ("max_position_embeddings", 10**12, "67,108,864"),
    ],
)
def test_counts_are_bounded_before_anything_is_made_of_them(
    published: dict[str, Any], key: str, value: int, most: str
) -> None:
    published["text_config"][key] = value
    with pytest.raises(Gemma4Error, match=f"{key} in text_config is {value}, .*at most {most}"):
        Config.from_dict(published)


@pytest.mark.parametrize("depth, fits", [(60, True), (70, False), (1_000, False), (10**6, False)])
def test_json_is_read_to_a_depth(
    published: dict[str, Any], tmp_path: Path, depth: int, fits: bool
) -> None:
    text = json.dumps(published)[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"
    (tmp_path / "config.json").write_text(text)
    if fits:
        assert load_config(tmp_path).text_config.hidden_size == 256
    else:
        with pytest.raises(Gemma4Error, match=r"config\.json.*(64 levels|recursion|not JSON)"):
            load_config(tmp_path)


def test_a_config_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").mkdir()  # as unreadable, even for root
    with pytest.raises(Gemma4Error, match=r"config\.json cannot be read"):
        load_config(tmp_path)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(Gemma4Error, match="Permission denied.*permissions"):
        load_config(tmp_path)
