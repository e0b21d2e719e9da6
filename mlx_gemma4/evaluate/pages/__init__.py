"""Pages to be read: rendered from text in many fonts, sizes and themes, or the user's own.

`page.py` defines a page; the other files make them. A page is a function of its set, a seed, a
number, and of the fonts and texts that this machine has.
"""
