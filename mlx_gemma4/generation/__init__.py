"""Prefill, decode and sampling over one KV cache."""
