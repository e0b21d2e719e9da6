"""Messages to token ids and replies back to events: templates, tools and the tokenizer. No MLX."""
