"""`gemma4 get`: from a local Hub that serves the tiny model under the 12B's name."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import mlx_gemma4 as g4
from mlx_gemma4 import cli
from mlx_gemma4.convert.convert import partial, verify
from mlx_gemma4.footprint import device
from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.hub import cache as hub_cache
from mlx_gemma4.hub import catalog, disk, installed
from tests.hub.conftest import NAME, QUANTIZED, TINY
from tests.hub.server import COMMIT, Hub

GEMMA4 = "from mlx_gemma4.cli import main; raise SystemExit(main())"
WEIGHTS = "model.safetensors"


def run(*arguments: str) -> int:
    return cli.main(["get", *arguments])


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def command(hub: Hub, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start it as a process of its own."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    return subprocess.Popen(
        [sys.executable, "-c", GEMMA4, "get", *arguments],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_it_is_quantized_checked_and_found_by_its_name(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--yes") == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == installed.folder() / "gemma-4-12B-it-8bit"
    assert verify(folder)["commit"] == COMMIT
    assert catalog.default() == NAME
    for name in (NAME, "gemma-4-12b-it", folder.name, str(folder)):
        assert catalog.resolve(name) == folder
    assert g4.load(NAME).config.quantization["bits"] == 8
    assert not partial(folder).exists() and hub_cache.installed(NAME) is None


def test_what_it_takes_is_told_before_the_first_byte_of_weights(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry-run", "--json") == 0
    (line,) = json_lines(capsys.readouterr().out)
    plan = line["plan"]
    files = published.files[NAME]
    needed = [n for n in files if n in (*hub_cache.SETTINGS, WEIGHTS)]
    assert plan["download"] == sum(len(files[name]) for name in needed)
    assert plan["recipe"] == "8bit" and plan["context"] == 8192
    assert None not in published.asked("cdn")  # headers alone
    assert not Path(plan["folder"]).parent.exists()


def test_a_dry_run_repeats_what_was_asked_for(
    published: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = str(tmp_path / "two words")
    assert run("--dry-run", "--recipe", "4bit", "--to", to) == 0
    command = capsys.readouterr().out.strip().rpartition("To do it: ")[2]
    assert shlex.split(command) == ["gemma4", "get", NAME, "--recipe", "4bit", "--to", to]


@pytest.mark.parametrize(
    ("memory", "recipe", "context"),
    [("16GB", "4bit", 187_648), ("18", "4bit", 262_144), ("32GB", "6bit", 262_144)],
)
def test_another_machine_is_told_what_it_would_get_without_the_hub(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    memory: str,
    recipe: str,
    context: int,
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert run("--memory", memory) == 0
    told = capsys.readouterr().out
    assert f"{NAME} as {recipe} for a Mac with" in told and f"{context:,} tokens" in told
    assert "23.92 GB to download" in told and "Nothing was downloaded" in told


def test_a_machine_that_is_too_small_is_told_what_would_do(
    published: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert run("--memory", "8GB") == 2
    told = capsys.readouterr().err
    assert "a Mac with 8 GB has 5.73 GB" in told and "needs a Mac with 16 GB" in told
    assert "gemma4 --model tiny" in told


def test_a_killed_run_goes_on_where_it_was(
    published: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published.chunk, published.pause = 65536, 0.02
    total = len(published.files[NAME][WEIGHTS])
    with command(published, "--yes", "--recipe", "4bit") as process:
        while installed.unfinished().get(NAME, 0) < total // 2:
            time.sleep(0.01)
            assert process.poll() is None, process.stderr
        process.send_signal(signal.SIGKILL)
    came = installed.unfinished()[NAME]
    assert came > total // 4
    published.pause = 0.0
    published.requests.clear()
    assert run("--yes", "--recipe", "4bit", "--json") == 0
    *steps, last = json_lines(capsys.readouterr().out)
    assert steps[0]["plan"]["held"] == came
    (resumed,) = [r for r in published.asked("cdn") if (r or "").endswith("-")]
    assert resumed is not None and int(resumed.removeprefix("bytes=").rstrip("-")) > total // 4
    assert {step["stage"] for step in steps[1:]} == {"download", "quantize", "check"}
    verify(Path(last["folder"]))
    assert not installed.unfinished()


def test_ctrl_c_keeps_what_came(published: Hub) -> None:
    published.chunk, published.pause = 65536, 0.02
    with command(published, "--yes") as process:
        while installed.unfinished().get(NAME, 0) < 200_000:
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"What has come is kept" in said and b"Traceback" not in said
    assert NAME in installed.unfinished()


def test_what_was_begun_is_finished_at_its_commit_though_the_hub_has_a_newer_one(
    published: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_in_the_middle(published)
    published.commit = "f" * 40
    assert run("--yes") == 0
    assert verify(catalog.resolve(NAME))["commit"] == COMMIT


def test_a_file_that_changed_between_two_tries_comes_again(published: Hub) -> None:
    cut_in_the_middle(published)
    work = partial(installed.folder() / "gemma-4-12B-it-8bit") / "source" / f"{WEIGHTS}.part"
    work.write_bytes(bytes(work.stat().st_size))
    assert run("--yes") == 0
    verify(catalog.resolve(NAME))


def test_a_commit_that_the_hub_has_no_more_is_begun_again(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_in_the_middle(published)
    published.commit, published.forgets = "f" * 40, True
    capsys.readouterr()
    assert run("--yes") == 0
    told = capsys.readouterr().err
    assert "the Hub has another version of what came so far" in told and "former try" not in told
    assert verify(catalog.resolve(NAME))["commit"] == "f" * 40


def cut_in_the_middle(hub: Hub) -> None:
    """Run it, and let the connection go for good after some of the weights."""
    hub.only_whole = True
    hub.cut_after = [1_000_000, 0, 0]
    assert run("--yes") == 2
    hub.cut_after = []
    assert 500_000 < installed.unfinished()[NAME]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("corrupt", "does not have the hash"),
        ("unreachable", "The Hub cannot be reached"),
        ("token", "401"),
        ("refused token", "The token is refused (status 401"),
        ("letters in the token", "The token cannot be sent"),
        ("sign-in page", "What answers is not the Hub"),
        ("redirects in a circle", "What answers is not the Hub"),
        ("missing", "404"),
        ("gated", "Accept them at"),
        ("offline", "HF_HUB_OFFLINE is set"),
        ("disk", "The disk is too small"),
        ("memory", "does not fit into the memory"),
    ],
)
def test_what_can_go_wrong_is_one_error_and_leaves_nothing_half_made(
    published: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    said: str,
) -> None:
    match fault:
        case "corrupt":
            published.corrupt = {WEIGHTS}
        case "unreachable":
            monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        case "token" | "refused token":
            published.token = "hf_right"
            if fault == "refused token":
                monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        case "letters in the token":
            monkeypatch.setenv("HF_TOKEN", "hf_t\u00f6ken")
        case "sign-in page":
            published.portal = "/api/"
        case "redirects in a circle":
            published.circle = "/api/"
        case "missing":
            del published.files[NAME]
        case "gated":
            published.gated = {NAME}
        case "offline":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        case "disk":
            usage = shutil.disk_usage("/")._replace(free=disk.SPARE + 100_000)
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        case "memory":
            small = Machine("a small computer", 1_000_000, "a rule", "cpu", 4)
            monkeypatch.setattr(device, "this", lambda: small)
    assert run("--yes") == 2
    told = capsys.readouterr().err
    assert said in told and told.count("Error:") == 1
    assert not list(installed.made())
    if fault not in ("corrupt",):
        assert None not in published.asked("cdn") and not installed.unfinished()


def test_with_the_right_token_it_comes(published: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    published.token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert run("--yes") == 0
    assert catalog.resolve(NAME)


def test_what_is_here_is_not_downloaded_again(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--yes") == 0
    published.requests.clear()
    capsys.readouterr()
    assert run() == 0
    assert "on this machine already" in capsys.readouterr().err
    assert not published.requests
    assert run("tiny") == 0


def test_a_folder_of_ones_own_is_found_by_the_name_too(published: Hub, tmp_path: Path) -> None:
    assert run("--yes", "--to", str(tmp_path / "disk/twelve"), "--recipe", "4bit") == 0
    assert catalog.resolve(NAME) == tmp_path / "disk/twelve" == catalog.resolve("twelve")
    assert run("--yes", "--recipe", "8bit") == 0
    assert catalog.resolve(NAME) == tmp_path / "disk/twelve"  # the package's own recipe
    assert catalog.resolve("gemma-4-12B-it-8bit").parent == installed.folder()


def test_a_folder_that_is_taken_is_found_before_anything_comes(
    published: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine := tmp_path / "mine").mkdir()
    (mine / "letter.txt").write_text("Dear all")
    for taken, said in ((mine, "is there already"), (mine / "letter.txt/in", "is a file")):
        assert run("--yes", "--to", str(taken)) == 2
        assert said in capsys.readouterr().err
    assert None not in published.asked("cdn") and not list(tmp_path.glob("*.partial"))
    assert (mine / "letter.txt").read_text() == "Dear all"


def test_nobody_is_asked_where_there_is_no_terminal(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 2
    assert "Add --yes" in capsys.readouterr().err
    assert None not in published.asked("cdn")


def test_a_quantized_model_comes_as_it_is_and_is_listed_and_removed(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(QUANTIZED, "--yes") == 0
    folder = catalog.resolve(QUANTIZED)
    assert folder == hub_cache.installed(QUANTIZED)
    capsys.readouterr()
    assert cli.main(["models", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["source"], row["recipe"]) == (QUANTIZED, "")
    assert row["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert cli.main(["models", "remove", QUANTIZED]) == 2  # nobody can be asked
    assert cli.main(["models", "remove", QUANTIZED, "--yes"]) == 0
    assert "are free again" in capsys.readouterr().out
    assert not folder.exists() and not list(installed.made())
    with pytest.raises(g4.Gemma4Error, match="gemma4 get"):
        catalog.resolve(QUANTIZED)


def test_what_came_of_a_download_is_listed_and_removed(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_in_the_middle(published)
    capsys.readouterr()
    assert cli.main(["models"]) == 0
    assert f"{NAME}  not complete" in capsys.readouterr().out
    assert cli.main(["models", "remove", NAME, "--yes"]) == 0
    assert not installed.unfinished() and not list(installed.folder().iterdir())
    assert cli.main(["models", "remove", NAME, "--yes"]) == 2


def test_a_folder_that_convert_made_is_found_by_its_name(
    published: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["convert", NAME, "--low-disk", "--recipe", "6bit"]) == 0
    assert catalog.resolve(NAME) == tmp_path / "gemma-4-12B-it-6bit"


def test_a_drafter_comes_too_and_is_found_by_the_model(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    drafter = f"{NAME}-assistant"
    files = (TINY.parent / "tiny-drafter").iterdir()
    published.files[drafter] = {path.name: path.read_bytes() for path in files}
    assert run("--yes") == 0
    assert f"gemma4 get {drafter}" in capsys.readouterr().err
    assert run(drafter, "--yes") == 0
    out, told = capsys.readouterr()
    folder = Path(out.strip())
    assert folder == installed.folder() / "gemma-4-12B-it-assistant-8bit"
    assert f"gemma4 bench --draft --model {NAME}" in told and "conversation" not in told
    assert catalog.drafter_of(catalog.known(NAME)) == folder
    assert catalog.default() == NAME  # a drafter is no model
    assert g4.load(NAME, draft=4).drafter is not None
    assert run("--yes") == 0
    assert "assistant" not in capsys.readouterr().err


def test_a_drafter_that_does_not_come_leaves_the_model_ready(
    published: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"Open it now?": False}
    monkeypatch.setattr("mlx_gemma4.cli.get.agreed", lambda text, usual: answers.get(text, True))
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert run() == 0
    told = capsys.readouterr().err
    assert f"{NAME}-assistant" in told and "404" in told
    assert told.rstrip().endswith("To open it: gemma4")
