import argparse
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mlx_gemma4 import cli
from mlx_gemma4.checkpoint import recipes
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.cli import models
from mlx_gemma4.cli.options import new_file
from mlx_gemma4.hub import disk
from mlx_gemma4.hub.catalog import RECORD
from tests.unit.checkpoints import publish


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    publish(tmp_path / "published")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "published"


def test_a_converted_folder_is_named_after_its_source_and_its_recipe(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(published), "--recipe", "8bit"]) == 0
    told = capsys.readouterr()
    assert told.out == "published-8bit\n"
    assert RECORD in told.err
    assert load_folder(Path("published-8bit")).forward(np.arange(20, 30)).shape == (1, 10, 512)
    assert cli.main(["verify", "published-8bit"]) == 0
    assert "as they were made of published." in capsys.readouterr().out


def test_bits_group_size_and_mode_stand_for_a_recipe(published: Path) -> None:
    command = ["convert", str(published), "--bits", "5", "--group-size", "32"]
    assert cli.main(command) == 0
    model = load_folder(Path("published-5bit-g32"))
    assert model.config.quantization == {"group_size": 32, "bits": 5, "mode": "affine"}
    assert cli.main(["convert", str(published), "--mode", "mxfp8", "-o", "mine"]) == 0
    assert load_folder(Path("mine")).config.quantization["mode"] == "mxfp8"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "3bit"], "no recipe 3bit"),
        (["--recipe", "4bit", "--bits", "4"], "--recipe already sets"),
        (["--bits", "7"], "7 bits in groups of 64"),
        (["--mode", "int4"], "no mode int4"),
        (["--low-disk"], "files of a folder are never removed"),
        (["--revision", "main"], "A folder has no other revision"),
        (["-o", "a" * 300], "File name too long"),
        (["-o", "published"], "is there already"),
        (["--budget", "1GB", "--recipe", "4bit"], "--budget already sets"),
        (["--budget", "small"], "no size"),
        (["--budget", f"{'9' * 400}GB"], "no size"),
        (["--budget", "0.0001GB"], "Allow at least 2MB"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_written(
    published: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(["convert", str(published), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["published"]


def test_a_budget_names_the_folder_and_is_kept(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(published), "--budget", "1.42 MB"]) == 0
    told = capsys.readouterr()
    assert told.out == "published-1.42MB\n"
    assert "Most matrices get" in told.err
    sizes = [path.stat().st_size for path in Path("published-1.42MB").glob("*.safetensors")]
    assert 1.40e6 < sum(sizes) < 1.42e6 + 50_000  # headers are not weights
    assert not Path("published-1.42MB.partial").exists()
    assert cli.main(["verify", "published-1.42MB"]) == 0


def test_a_folder_where_nothing_may_be_written_is_found_before_anything_is_read(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "_source", lambda *_: pytest.fail("the source was read"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cli.main(["convert", str(published)]) == 2
    assert "this account may not write there" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"files": {}, "source": None}, {"commit": 5}, {"files": []}])
def test_a_damaged_record_of_a_folder_is_named(
    published: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    written = {"source": "published", "files": {}} | change
    (published / RECORD).write_text(json.dumps(written))
    for file in published.glob("*.safetensors"):
        file.unlink()
    assert cli.main(["verify", str(published)]) == 2
    assert RECORD in capsys.readouterr().err


def test_a_full_disk_while_a_budget_is_measured_is_one_error(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(disk, "write", full)
    assert cli.main(["convert", str(published), "--budget", "3MB"]) == 2
    assert "The disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["fit"], ["convert"], ["verify"], ["bench", "--json"], ["get", "--to"]]
)
def test_a_name_that_is_too_long_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cli.main([*command, "a" * 300]) == 2
    told = capsys.readouterr().err
    assert "The program failed" not in told and "permissions" not in told


def test_a_file_to_write_may_be_a_device_and_no_file_that_is_shut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shut := tmp_path / "shut.json").touch()
    open_ = ("null", "new.json", tmp_path.name)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name in open_)
    for path in ("/dev/null", str(tmp_path / "new.json")):
        assert new_file(path) == path
    with pytest.raises(argparse.ArgumentTypeError, match="may not be written"):
        new_file(str(shut))


def test_a_gguf_file_is_refused_with_what_to_take_instead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["convert", "gemma-4-12b-it-Q4_0.gguf"]) == 2
    assert "qat-4bit" in capsys.readouterr().err


def test_an_unknown_source_names_what_there_is(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", "nothing"]) == 2
    assert "google/gemma-4-12B-it" in capsys.readouterr().err


def test_every_recipe_is_named_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["convert", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert ", ".join(recipes.RECIPES) in told
