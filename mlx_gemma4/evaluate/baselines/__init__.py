"""Rival programs on the same items: each in a process of its own, and an extra of its own.

`rival.py` is how one is asked, `serve.py` what its process does, `programs.py` the rivals.
"""
