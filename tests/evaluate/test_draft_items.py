"""The work on which a drafter is measured: ours and the user's own; and its report."""

import json
from pathlib import Path

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import drafter
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.question import Choice, Row, Table


def texts(folder: Path, limit: int | None = None) -> list[str]:
    items = drafter.own(folder, limit)
    assert all(text not in item.id for item in items for text in ("plan", "again"))
    return [item.make().text for item in items if item.make is not None]


def test_own_prompts_are_texts_and_what_was_asked_in_the_program_each_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plan a trip")
    (tmp_path / "b.md").write_text("# again")
    (tmp_path / "._b.md").write_bytes(b"\0\5\x16\7")  # what macOS leaves on other disks
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty.txt").write_text(" \n")
    talk = tmp_path / "2026-11-28"
    talk.mkdir()
    lines = [
        {"is": "asked", "text": "what is it?"},
        {"is": "said", "text": "it is a cat"},
        {"is": "asked", "text": "plan a trip"},
        {"is": "asked", "text": ""},
    ]
    written = "\n".join(json.dumps(line) for line in lines)
    (talk / "events.jsonl").write_text(written + '\n{"is": "ask')  # cut while it was written
    assert texts(tmp_path) == ["plan a trip", "# again", "what is it?"]
    assert texts(tmp_path, 2) == ["plan a trip", "# again"]


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_prompts_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Gemma4Error) as error:
        drafter.own(tmp_path / folder, None)
    assert error.value.code == "folder_unusable"


def test_the_chosen_kinds_alone_are_asked_and_each_shows_what_it_is_about() -> None:
    choice = Choice(limit=3, sets=("code", "a value"), tiny=True)
    items = drafter.items_for(choice, OurModel("tiny"))
    assert [item.facts["kind"] for item in items] == ["code"] * 3 + ["a value"] * 3
    for item in items[:3]:
        shown = item.make().text.partition(":\n\n")[2]
        assert len(shown.splitlines()) > 3 and ("def " in shown or "class " in shown)


def test_tables_of_several_models_name_them() -> None:
    measured = {"accepted": [1, 2], "seconds": {}, "forwards": {}}
    rows = [
        Row("drafter", "a", {"kind": "prose"}, model, "", "1", measured, 0.0, 0.0)
        for model in ("one", "two")
    ]
    table = next(part for part in drafter.QUESTION.report(rows) if isinstance(part, Table))
    assert [row[0] for row in table.rows] == ["one: prose", "two: prose"]
