"""`gemma4 tune`: one adapter for text, pictures and sound."""
