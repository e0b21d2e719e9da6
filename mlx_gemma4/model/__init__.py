"""The model: configuration, attention, KV cache, decoder and embedders, in plain MLX."""
