"""Test doubles that need no weights, no microphone and no other program."""
