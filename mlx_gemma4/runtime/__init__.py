"""The worker that owns MLX: commands go in as plain data, reports come out."""
