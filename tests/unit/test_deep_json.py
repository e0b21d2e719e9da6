"""JSON that is nested so deeply that no reader follows it: an error that names the place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_gemma4.cli import speed_result
from mlx_gemma4.convert import budget
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import run
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.pages import folder as pages
from mlx_gemma4.hub.sources import Folder
from mlx_gemma4.session import openai_messages

TINY = Path(__file__).parents[2] / "assets/tiny"
DEEP = "[" * 100_000


def called(arguments: str) -> object:
    function = {"name": "look", "arguments": arguments}
    calls = [{"id": "1", "type": "function", "function": function}]
    return openai_messages.turns([{"role": "assistant", "tool_calls": calls}], 280)


@pytest.mark.parametrize(
    "name, read",
    [
        ("bench.json", lambda path: speed_result.load(path)),
        ("results.jsonl", lambda path: run.read(path)),
        ("manifest.jsonl", lambda path: pages.read(path.parent)),
        ("config.json", lambda path: OurModel(str(path.parent))),
        ("conversion.json", lambda path: OurModel(str(path.parent))),
        ("losses.json", lambda path: budget._kept(Folder(TINY), path)),
        ("a call", lambda path: called(path.read_text())),
    ],
)
def test_deep_json_is_an_error_of_ours(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    file = tmp_path / name
    file.write_text(f"{DEEP}\n")
    with pytest.raises(Gemma4Error, match="JSON|not usable|not written by") as error:
        read(file)
    assert error.value.code != "internal_error"


def test_losses_that_hold_something_else_are_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "losses.json"
    file.write_text("{}")
    assert budget._kept(Folder(TINY), file) is None
