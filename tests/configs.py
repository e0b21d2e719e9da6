"""Configs that differ from others in what a test is about."""

from dataclasses import replace

from mlx_gemma4.model.config import Config


def with_context(config: Config, tokens: int) -> Config:
    """The same with a context of so many tokens."""
    return replace(config, text_config=replace(config.text_config, max_position_embeddings=tokens))
