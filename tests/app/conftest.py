from tests.app.programs import program
from tests.app.table import table
from tests.app.terminal import terminal

__all__ = ["program", "table", "terminal"]
