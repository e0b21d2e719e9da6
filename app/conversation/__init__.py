"""One conversation: its journal on disk, its history as turns, and what the user does with it."""
