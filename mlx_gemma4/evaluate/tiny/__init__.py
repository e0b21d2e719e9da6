"""The small world that the demonstration model knows: receipts, digits and commands.

Its training draws from the same makers; names, numbers and sentences that it never saw are held out
for examinations (`words.held_out`). `tasks.py` has everything that can be asked.
"""
