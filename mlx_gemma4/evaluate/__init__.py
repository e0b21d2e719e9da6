"""Questions that an independent reader would ask about this model; each is a file and a command.

`question.py` defines a question, `run.py` asks it, `report.py` writes what came of it.
"""
