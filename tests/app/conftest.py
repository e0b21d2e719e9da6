from tests.app.programs import mac, no_screen, program, shot
from tests.app.table import table
from tests.app.terminal import terminal

__all__ = ["mac", "no_screen", "program", "shot", "table", "terminal"]
