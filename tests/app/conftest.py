from tests.app.programs import program

__all__ = ["program"]
