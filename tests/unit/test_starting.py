"""The command before its modules are imported, and words that depend on a number."""

import sys
from types import ModuleType

import pytest

from mlx_gemma4.__main__ import main
from mlx_gemma4.errors import counted
from mlx_gemma4.events import Dropped
from mlx_gemma4.runtime.notices import sentence


class Interrupted(ModuleType):
    """A module in whose import somebody presses Ctrl-C."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


def test_ctrl_c_while_the_command_is_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlx_gemma4.cli", Interrupted("mlx_gemma4.cli"))
    assert main() == 130
    assert capsys.readouterr() == ("", "")


def test_one_of_something_is_not_several() -> None:
    assert counted(0, "token") == "0 tokens"
    assert counted(1, "token") == "1 token"
    assert counted(2048, "token") == "2,048 tokens"
    assert sentence(Dropped(1)).endswith("the oldest 1 turn.")
