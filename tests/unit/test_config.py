"""Both published forms of a config, what is added to it, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.model.config import FULL, SLIDING, Config, load_config
from mlx_gemma4.testing.doubles import tiny_config

ORACLE = Path(__file__).parent.parent / "oracle" / "config.json"


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
