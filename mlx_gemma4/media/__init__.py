"""Pictures, sound and video as the model takes them. Knows nothing of MLX."""
