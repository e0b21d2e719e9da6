"""A conversation over KV caches: what is in them, what is heard, and how it is saved."""
