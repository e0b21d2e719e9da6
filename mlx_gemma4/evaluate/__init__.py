"""Questions that an independent reader would ask about this model; each is a file and a command.

`question.py` says what a question is, `run.py` asks it, `report.py` tells what came of it.
"""
