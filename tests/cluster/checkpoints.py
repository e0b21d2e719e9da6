"""Model folders for several processes: the tiny double, and one with 8 KV heads; 32 and 4 bits."""

import copy
from pathlib import Path

import pytest

from mlx_gemma4.checkpoint.load import save_folder
from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
from mlx_gemma4.model.config import FULL, SLIDING, Config
from mlx_gemma4.testing.doubles import tiny_config, tiny_model
from tests.conftest import CONTROLS
from tests.unit.small_tokenizer import small_backend


def wide_config() -> Config:
    """Eight KV heads, as the 12B's sliding layers have; nine layers, which no two ranks share."""
    raw = copy.deepcopy(dict(tiny_config().raw))
    raw["text_config"] |= {
        "num_hidden_layers": 9,
        "layer_types": [SLIDING, SLIDING, FULL] * 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    }
    return Config.from_dict(raw)


def make(folder: Path, config: Config, recipe: str | None) -> str:
    """Write a model with random weights."""
    model = tiny_model(3, config=config)
    if recipe is not None:
        quantize(model, RECIPES[recipe])
    save_folder(model, folder)
    small_backend(CONTROLS).save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders by name."""
    place = tmp_path_factory.mktemp("cluster")
    kinds = {"tiny": tiny_config(), "wide": wide_config()}
    return {
        f"{name} {recipe or 'fp32'}": make(place / f"{name}-{recipe}", config, recipe)
        for name, config in kinds.items()
        for recipe in (None, "4bit")
    }
