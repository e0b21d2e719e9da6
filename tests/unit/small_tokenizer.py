from types import SimpleNamespace
from typing import cast

from mlx_gemma4.chat.tokenizer import CONTROLS
from mlx_gemma4.chat.tokenizer import Tokenizer as OurTokenizer
from mlx_gemma4.model.config import Config
from mlx_gemma4.testing.small_tokenizer import small_backend

__all__ = ["media_config", "small_backend", "small_tokenizer"]


def small_tokenizer(template: str | None = None) -> OurTokenizer:
    """The same as the library's Tokenizer."""
    return OurTokenizer(small_backend(), template)


def media_config() -> Config:
    """Only what `render` reads of a config: the ids of the media tokens."""
    id_of = {name: number for number, name in enumerate(CONTROLS)}
    return cast(
        Config,
        SimpleNamespace(
            boi_token_id=id_of["<|image>"],
            image_token_id=id_of["<|image|>"],
            eoi_token_id=id_of["<image|>"],
            boa_token_id=id_of["<|audio>"],
            audio_token_id=id_of["<|audio|>"],
            eoa_token_id=id_of["<audio|>"],
            video_token_id=id_of["<|video|>"],
        ),
    )
