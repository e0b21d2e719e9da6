"""Sounds that `speech` asks about: who speaks, through what noise, in what room, after what.

`sets.py` has the sets of items; the other files are what it makes them of.
"""
