"""Pages show what the program prints now, and no link of theirs is broken."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import mlx_gemma4 as g4
from docs.update import BLOCKS, ROOT, block_updated

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_has_the_table_of_machines_that_the_program_prints() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    assert block_updated(page, "machines") == page, "run: python -m docs.update"
    stale = page.replace("| 16 GB |", "| 17 GB |")
    assert stale != page and block_updated(stale, "machines") == page


def test_every_part_that_a_program_makes_has_its_place() -> None:
    for file, name in BLOCKS:
        assert f"<!-- {name}: made by docs/update.py -->" in (ROOT / file).read_text("utf-8")


def test_the_readme_is_short_and_names_no_address() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    assert page.count("\n") < 120
    assert set(re.findall(r"https?://[^\s)]+", page)) == {"https://github.com/ml-explore/mlx"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page) -> None:  # noqa: ANN001
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_every_room_and_folder_has_a_line_in_its_map() -> None:
    rooms = (ROOT / "docs/architecture.md").read_text("utf-8").partition("## How")[0]
    parts = [*(ROOT / "mlx_gemma4").glob("[a-z]*.py"), *(ROOT / "mlx_gemma4").glob("*/__init__.py")]
    for path in parts:
        name = path.parent.name if path.name == "__init__.py" else path.name
        assert re.search(rf"[`/]{name}[`/]", rooms), name
    folders = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for name in {path.parent.name for path in ROOT.glob("[a-z]*/*.py")} - {"out"}:
        assert f"| `{name}/` |" in folders, name
    for name in re.findall(r"`(tests/\w+)`", folders):
        assert (ROOT / name).is_dir(), name


@pytest.mark.parametrize("name", ["first", "first-film"])
def test_the_readmes_pictures_name_the_model_and_load_nothing(name: str) -> None:
    picture = (ROOT / "docs" / f"{name}.svg").read_text("utf-8")
    assert "tiny" in picture and "19.56" in picture
    assert not re.findall(r"(?:href|src|url\()\s*=?\s*[\"']?https?:", picture)


def test_the_data_that_the_page_of_tuning_shows_is_a_conversation_a_line() -> None:
    page = (ROOT / "docs/tune.md").read_text("utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert all(json.loads(line)["messages"] for line in block.splitlines())


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_python_of_a_page_runs_as_it_is(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    code = "\n".join(blocks).replace('g4.load("google/gemma-4-12B-it")', 'g4.load("tiny")')
    monkeypatch.chdir(tmp_path)
    for name in ("receipt.png", "screen.png", "one.png", "two.png"):
        shutil.copy(ROOT / "assets/demo/receipt.png", name)
    shutil.copy(ROOT / "assets/demo/question.wav", "question.wav")
    if "film.mp4" in code:
        av = pytest.importorskip("av", reason="PyAV is an extra")
        with av.open("film.mp4", "w") as film:
            stream = film.add_stream("mpeg4", rate=10)
            stream.width, stream.height = 64, 48
            film.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
            film.mux(stream.encode())
    config = g4.load("tiny").config
    frames = np.zeros((2, 640), np.float32)
    names = {
        "token_ids": [2, config.image_token_id, *[config.audio_token_id] * 2],
        "samples": frames.ravel(),
        "frames": frames,
        "patches": np.zeros((1, 6912), np.uint8),
        "positions": np.zeros((1, 2), np.int32),
    }
    exec(code, names)
    assert names["session"].turns[-1].role == "model" and capsys.readouterr().out
