"""`gemma4 serve`: other programs come in over HTTP and WebSocket; nothing here knows MLX."""
