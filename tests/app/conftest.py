from tests.app.programs import program
from tests.app.table import table

__all__ = ["program", "table"]
