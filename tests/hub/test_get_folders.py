"""`gemma4 get --to`, copies of other programs, disks that are nearly full, and other revisions."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

import mlx_gemma4 as g4
from mlx_gemma4 import cli
from mlx_gemma4.convert import get, get_plan
from mlx_gemma4.convert import plan as conversion
from mlx_gemma4.convert.convert import partial, verify
from mlx_gemma4.footprint.estimate import mac
from mlx_gemma4.hub import cache as hub_cache
from mlx_gemma4.hub import catalog, disk, installed
from mlx_gemma4.hub import hub as downloads
from mlx_gemma4.hub.installed import InstalledModel
from tests.hub.conftest import NAME, QUANTIZED, TINY
from tests.hub.server import COMMIT, Hub

WEIGHTS = "model.safetensors"


def run(*arguments: str) -> int:
    return cli.main(["get", *arguments, "--yes"])


def test_a_quantized_model_never_replaces_what_is_in_a_folder(
    published: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine := tmp_path / "mine").mkdir()
    (mine / WEIGHTS).write_bytes(b"trained by me")
    assert run(QUANTIZED, "--to", str(mine)) == 2
    told = capsys.readouterr().err
    assert "is there already" in told and "former try" not in told
    assert [file.read_bytes() for file in mine.iterdir()] == [b"trained by me"]


def test_a_quantized_model_in_a_folder_is_found_checked_and_removed(
    published: Hub, tmp_path: Path
) -> None:
    target = tmp_path / "disk/mine"
    published.only_whole, published.cut_after = True, [1_000_000, 0, 0]
    assert run(QUANTIZED, "--to", str(target)) == 2
    assert not target.exists() and installed.state(partial(target))["commit"] == COMMIT
    published.cut_after = []
    published.requests.clear()
    assert run(QUANTIZED, "--to", str(target)) == 0
    assert "bytes=1000000-" in published.asked("cdn") and not partial(target).exists()
    assert catalog.resolve(QUANTIZED) == catalog.resolve("mine") == target
    assert verify(target)["source"] == QUANTIZED
    (target / "notes.txt").write_text("mine")
    assert cli.main(["models", "remove", "mine", "--yes"]) == 0
    assert [file.name for file in target.iterdir()] == ["notes.txt"]


def test_what_another_program_has_cached_is_taken_as_it_is_or_copied(
    published: Hub, tmp_path: Path
) -> None:
    cached = downloads.download(downloads.look_up(QUANTIZED))
    published.requests.clear()
    assert run(QUANTIZED) == 0
    assert [model.folder for model in installed.made()] == [cached]
    assert run(QUANTIZED, "--to", str(tmp_path / "copy")) == 0
    assert not published.requests
    assert verify(tmp_path / "copy")["commit"] == COMMIT
    assert g4.load(tmp_path / "copy").config.quantization["bits"] == 4


def test_folders_of_one_name_on_two_disks_are_both_listed(published: Hub, tmp_path: Path) -> None:
    for number, recipe in enumerate(("4bit", "6bit")):
        assert run("--recipe", recipe, "--to", str(tmp_path / f"disk{number}/twelve")) == 0
    assert catalog.resolve("twelve") == tmp_path / "disk0/twelve"
    assert catalog.resolve("twelve-2") == tmp_path / "disk1/twelve"


def test_the_folder_of_a_newer_commit_takes_the_name_of_the_former(published: Hub) -> None:
    assert run(QUANTIZED) == 0
    published.commit = "f" * 40
    assert run(QUANTIZED, "--revision", "f" * 40) == 0
    assert [model.name for model in installed.made()] == ["gemma-4-12B-it-4bit"]
    assert catalog.resolve(QUANTIZED).name == "f" * 40


def test_another_revision_is_not_what_is_here(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--recipe", "8bit") == run("--recipe", "8bit", "--revision", COMMIT) == 0
    assert "on this machine already" in capsys.readouterr().err
    published.commit = "f" * 40
    assert run("--recipe", "8bit", "--revision", "f" * 40) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder.name == f"gemma-4-12B-it-8bit-{'f' * 40}"
    usual = folder.with_name("gemma-4-12B-it-8bit")
    assert catalog.resolve(NAME) == usual  # a revision that was asked for once is not the usual one
    assert run("--recipe", "8bit") == 0 and capsys.readouterr().out.strip() == str(usual)
    assert verify(folder)["commit"] == "f" * 40
    assert verify(usual)["commit"] == COMMIT
    assert run("--recipe", "8bit", "--revision", "a-branch") == 2
    assert "has no revision a-branch" in capsys.readouterr().err


def test_what_two_revisions_share_is_not_said_to_be_free(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    first = downloads.download(downloads.look_up(QUANTIZED))
    other = first.with_name("f" * 40)
    shutil.copytree(first, other, symlinks=True)
    store = first.parents[1]
    model = InstalledModel(QUANTIZED, store, other, QUANTIZED, "", "f" * 40)
    assert installed.remove(model) == 0
    assert not other.exists() and all(file.is_file() for file in first.iterdir())
    shutil.copytree(first, other, symlinks=True)
    assert cli.main(["models", "remove", QUANTIZED, "--yes"]) == 0
    assert f"Other revisions stay in {store}" in capsys.readouterr().err
    assert not first.exists() and all(file.is_file() for file in other.iterdir())


def test_a_state_that_is_damaged_hides_no_model(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    work = partial(installed.folder() / "gemma-4-12B-it-8bit")
    work.mkdir(parents=True)
    (work / installed.STATE).write_text(json.dumps({"name": NAME}))
    assert cli.main(["models"]) == 0
    assert f"`gemma4 get {NAME}` goes on" in capsys.readouterr().out


def test_another_revision_drops_nothing_of_a_download_that_was_cut(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    published.only_whole, published.cut_after = True, [1_000_000, 0, 0]
    assert run("--recipe", "8bit") == 2
    came = installed.unfinished()[NAME]
    published.commit, published.cut_after = "f" * 40, [1_000_000, 0, 0]
    assert run("--recipe", "8bit", "--revision", "f" * 40) == 2
    assert installed.unfinished()[NAME] > came + 900_000
    capsys.readouterr()
    assert cli.main(["models"]) == 0
    told = capsys.readouterr().out
    assert f"`gemma4 get {NAME} --recipe 8bit` goes on" in told
    assert f"`gemma4 get {NAME} --recipe 8bit --revision {'f' * 40}` goes on" in told


def test_a_recipe_is_refused_for_what_is_quantized_already(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(QUANTIZED, "--recipe", "8bit") == 2
    assert "quantized already" in capsys.readouterr().err
    assert None not in published.asked("cdn") and not list(installed.made())


def test_what_opens_a_model_opens_that_one(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--recipe", "4bit") == 0
    assert capsys.readouterr().err.rstrip().endswith("To open it: gemma4")
    assert run("--recipe", "8bit") == 0
    out, told = capsys.readouterr()
    assert told.rstrip().endswith(f"To open it: gemma4 --model {out.strip()}")


def test_removing_a_revision_from_the_hubs_cache_leaves_the_other(published: Hub) -> None:
    assert run(QUANTIZED) == 0
    former = catalog.resolve(QUANTIZED)
    published.commit = "f" * 40
    assert run(QUANTIZED, "--revision", "f" * 40) == 0
    assert cli.main(["models", "remove", "gemma-4-12B-it-4bit", "--yes"]) == 0
    assert not former.with_name("f" * 40).exists()
    assert g4.load(former).config.quantization["bits"] == 4


def test_a_model_of_ones_own_bits_is_not_listed_as_the_hub_has_it(
    published: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--bits", "5", "--group-size", "32", "-o", str(tmp_path / "five")]
    assert cli.main(["convert", str(TINY), *own]) == 0
    capsys.readouterr()
    assert cli.main(["models"]) == 0
    assert ", tiny\n" in (told := capsys.readouterr().out) and "as it is" not in told


def test_a_folder_of_ones_own_keeps_the_commit_that_was_cut(published: Hub, tmp_path: Path) -> None:
    published.only_whole, published.cut_after = True, [1_000_000, 0, 0]
    assert run("--to", str(tmp_path / "twelve")) == 2
    published.cut_after, published.commit = [], "f" * 40
    assert run("--to", str(tmp_path / "twelve")) == 0
    assert verify(tmp_path / "twelve")["commit"] == COMMIT


@pytest.mark.parametrize("cached", [False, True])
def test_what_was_cut_while_quantizing_needs_only_the_room_that_is_left(
    published: Hub, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    monkeypatch.setattr(conversion, "_FILE", 1_000_000)  # several files, as the 12B has
    if cached:
        downloads.download(downloads.look_up(NAME))
    wanted = get_plan.plan(NAME, mac(16), "4bit")
    room, usage = wanted.most + disk.SPARE + 10_000, shutil.disk_usage("/")
    work = partial(wanted.folder)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage._replace(free=room - installed.held(work))
    )
    seen: list[get.GetProgress] = []

    def late() -> bool:
        return seen[-1].stage == "quantize" and seen[-1].share > 0.8

    assert get.fetch(wanted, seen.append, lambda: bool(seen) and late()) is None
    assert list(work.glob("model/*.part"))
    again = get_plan.plan(NAME, mac(16), "4bit")
    assert again.held <= again.download and again.most == wanted.most - installed.held(work)
    assert run("--recipe", "4bit") == 0


def test_a_disk_that_fills_up_at_the_end_is_one_error(
    published: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = disk.write

    def full(path: Path, content: bytes) -> None:
        if path.name == "tokenizer.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(disk, "write", full)
    assert run() == 2
    assert "The disk is full" in capsys.readouterr().err


def test_a_cache_on_a_disk_without_links_holds_files(
    published: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.symlink_to

    def refused(self: Path, target: Path, target_is_directory: bool = False) -> None:
        if self.is_relative_to(constants.HF_HUB_CACHE):
            raise PermissionError(errno.EPERM, "Operation not permitted", str(self))
        link(self, target, target_is_directory)

    monkeypatch.setattr(Path, "symlink_to", refused)
    files = published.files[QUANTIZED]
    files["chat_template.json"] = files["generation_config.json"]  # two names of one content
    assert run(QUANTIZED) == 0
    folder = catalog.resolve(QUANTIZED)
    assert folder == hub_cache.installed(QUANTIZED)
    assert all(path.read_bytes() == files[path.name] for path in folder.iterdir())


@pytest.mark.parametrize("command", [["get", "--yes", "--to"], ["convert", str(TINY), "-o"]])
@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_a_folder_without_a_name_is_there_already(
    published: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    folder: str,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.main([*command, folder]) == 2
    assert f"{folder} is there already" in capsys.readouterr().err


def test_the_home_of_nobody_is_a_folder_of_that_name(
    published: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "~nobody-here/hub")
    assert cli.main(["get", "--dry-run", "--json", "--to", "~nobody-here/x"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["folder"] == "~nobody-here/x"
    assert cli.main(["convert", "~nobody-here/x"]) == 2
    assert "nobody-here/x" in capsys.readouterr().err
