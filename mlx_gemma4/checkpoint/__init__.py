"""Checkpoint folders: safetensors files, names and shapes, recipes, loading and quantizing."""
