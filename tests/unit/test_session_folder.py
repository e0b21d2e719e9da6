"""The folder of a saved conversation: other files in it, and what cannot be written or read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlx_gemma4.chat.messages import TextPart, ToolResult, Turn
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import ToolCall
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session.session import Session


@pytest.fixture
def session(model: Gemma4) -> Session:
    session = Session(model)
    session.add_text("hello")
    list(session.reply(2))
    return session


def test_files_whose_names_only_look_like_ours_are_left_alone(
    model: Gemma4, session: Session, tmp_path: Path
) -> None:
    (tmp_path / "new-song.wav").write_text("mine")
    with pytest.raises(Gemma4Error, match="new-song.wav"):
        session.save(tmp_path)
    folder = tmp_path / "talk"
    session.save(folder)
    names = {"new-song.wav", "new.txt", "new-ab.txt", "new-notes.json"}
    folders = {"new-folder", "new-ab.json", f"{'0' * 64}.npy"}
    for place in (folder, folder / "rows" / "rows"):
        for name in names:
            (place / name).write_text("mine")
        for name in folders:
            (place / name).mkdir()
    session.save(folder)
    Session.restore(model, folder).save(folder)
    for place in (folder, folder / "rows" / "rows"):
        assert names | folders < {path.name for path in place.iterdir()}


SHUT = """
import os, sys
from pathlib import Path
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import catalog, installed_adapters
from mlx_gemma4.model.config import load_config
from mlx_gemma4.session import persistence
from mlx_gemma4.session.pending_turn import PendingTurn
if os.geteuid() == 0:
    os.setuid(65534)  # whoever may enter everything
folder = Path(sys.argv[1])
state = persistence.SavedSession((), PendingTurn(), 70, False)
readers = persistence.load, load_config, catalog.resolve, installed_adapters.find
for attempt in (*readers, lambda folder: persistence.save(folder, state, None)):
    try:
        attempt(folder)
    except Gemma4Error as error:
        print(error.code, "Permission denied" in error.cause)
"""


def test_a_folder_that_may_not_be_entered_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    (shut / "inner").mkdir(parents=True)
    shut.chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", SHUT, str(shut / "inner")],
            capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
        )  # fmt: skip
    finally:
        shut.chmod(0o700)
    codes = ["saved_unreadable", *["config_unusable"] * 3, "folder_unwritable"]
    assert done.stdout.splitlines() == [f"{code} True" for code in codes], done.stderr


def test_what_json_changes_of_the_turns_and_tools_is_saved_as_it_is_read(
    model: Gemma4, tmp_path: Path
) -> None:
    call = ToolCall("c1", "find", {})
    answered = Turn("tool", (ToolResult("find", {2: "two", 10: ("ten",)}, "c1"),))
    asked = Turn("user", (TextPart("find"),))
    session = Session(model, turns=[asked, Turn("model", (call,)), answered])
    session.save(tmp_path, cache=False)
    (part,) = Session.restore(model, tmp_path).turns[-1].parts
    assert isinstance(part, ToolResult) and part.response == {"2": "two", "10": ["ten"]}
    session.open([asked, Turn("model", (call,)), Turn("tool", (ToolResult("find", {1, 2}, "c1"),))])
    with pytest.raises(Gemma4Error) as error:
        session.save(tmp_path, cache=False)
    assert error.value.code == "save_failed"
    assert len(Session.restore(model, tmp_path).turns) == 3
