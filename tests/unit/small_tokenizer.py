from mlx_gemma4.testing.small_tokenizer import media_config, small_backend, small_tokenizer

__all__ = ["media_config", "small_backend", "small_tokenizer"]
