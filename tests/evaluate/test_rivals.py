"""Rivals: their processes, what goes wrong in them, and mlx-vlm, whose library is a fake here."""

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from jinja2 import Environment
from PIL import Image

import mlx_gemma4
from mlx_gemma4.chat.builtin_template import chat_text
from mlx_gemma4.chat.messages import TextPart, Turn
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate import surroundings
from mlx_gemma4.evaluate.baselines.programs import NAMES, TEMPLATE, completed
from mlx_gemma4.evaluate.baselines.rival import KNOWN, Rival
from mlx_gemma4.evaluate.question import Asked, Choice, Item
from mlx_gemma4.evaluate.run import run
from tests.evaluate.counting import Counting

# Answers with what it was asked, and does what some words ask for.
LIBRARY = """
import json, os
from types import SimpleNamespace

print("Welcome to mlx-vlm!")

def load(folder):
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise FileNotFoundError(f"no config.json in {folder}")
    show = SimpleNamespace(max_soft_tokens=280)
    return SimpleNamespace(config={}), SimpleNamespace(image_processor=show, folder=folder)

def apply_chat_template(processor, config, messages, num_images=0, num_audios=0):
    return json.dumps({"messages": messages, "images": num_images, "audios": num_audios})

def generate(model, processor, prompt, image=None, audio=None, max_tokens=0, temperature=1.0):
    asked = json.loads(prompt)
    words = asked["messages"][-1]["content"]
    if words == "crash":
        os._exit(3)
    if words == "fail":
        raise ValueError("out of luck")
    if words == "shout":
        print("HELLO")
        os.write(1, b"HELLO\\n")
    if words == "packages":
        return SimpleNamespace(text=" ".join(os.listdir(os.environ["PYTHONPATH"].split(":")[0])))
    told = {**asked, "files": [os.path.isfile(name) for name in [*(image or ()), *(audio or ())]]}
    told |= {"budget": processor.image_processor.max_soft_tokens, "most": max_tokens}
    return SimpleNamespace(text="  " + json.dumps({**told, "temperature": temperature}) + "\\n")
"""
UTILS = "from pathlib import Path\n\ndef get_model_path(name):\n    return Path(name)\n"
MISSING = "raise ModuleNotFoundError(\"No module named 'mlx_vlm'\", name='mlx_vlm')\n"


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], str]:
    """Make an environment that has this library as mlx_vlm; return its interpreter."""

    def make(library: str) -> str:
        packages = tmp_path / "environment"
        (packages / "mlx_vlm").mkdir(parents=True)
        (packages / "mlx_vlm" / "__init__.py").write_text(library)
        (packages / "mlx_vlm" / "utils.py").write_text(UTILS)
        about = packages / "mlx_vlm-9.9.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mlx-vlm\nVersion: 9.9\n")
        script = f'PYTHONPATH="$PYTHONPATH:{packages}" exec {sys.executable} "$@"'
        return program(tmp_path / "python", script)

    return make


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def rival(python: Callable[[str], str], folder: Path) -> Iterator[Rival]:
    rival = Rival(f"mlx-vlm:{folder}", python(LIBRARY))
    yield rival
    rival.close()


def test_a_rival_says_what_it_is(rival: Rival, folder: Path) -> None:
    assert rival.versions["mlx-vlm"] == "9.9"
    assert rival.revision == surroundings.revision(folder)
    assert rival.takes == {"text", "image", "sound"}


def test_a_rival_gets_all_of_a_question(rival: Rival) -> None:
    asked = Asked(
        "",
        "what is it?",
        (Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))),
        (np.zeros(640, np.float32),),
        image_tokens=560,
        before="Be brief.",
        most=7,
    )
    assert json.loads(rival.answer(asked)) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "what is it?"},
        ],
        "images": 2,
        "audios": 1,
        "files": [True, True, True],
        "budget": 560,
        "most": 7,
        "temperature": 0.0,
    }


def test_a_rival_sees_our_package_and_nothing_else_of_ours(rival: Rival) -> None:
    assert rival.answer(Asked("", "packages")) == "mlx_gemma4"


def test_a_file_of_the_users_is_not_run_in_place_of_a_module(
    python: Callable[[str], str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    Rival(f"mlx-vlm:{folder}", python(LIBRARY)).close()


def test_a_budget_of_one_question_is_not_that_of_the_next(rival: Rival) -> None:
    budgets = [
        json.loads(rival.answer(Asked("", "hello", image_tokens=n)))["budget"] for n in (70, None)
    ]
    assert budgets == [70, 280]


def test_what_a_rival_prints_is_no_answer(rival: Rival) -> None:
    told = [json.loads(rival.answer(Asked("", words))) for words in ("shout", "hello")]
    assert [one["messages"][0]["content"] for one in told] == ["shout", "hello"]


def test_a_question_that_fails_is_told_in_the_rivals_words_and_the_next_is_answered(
    rival: Rival,
) -> None:
    with pytest.raises(Gemma4Error) as caught:
        rival.answer(Asked("", "fail"))
    assert caught.value.cause == "ValueError: out of luck"
    assert "hello" in rival.answer(Asked("", "hello"))


def test_a_rival_that_crashes_is_started_again_for_the_next_question(rival: Rival) -> None:
    with pytest.raises(Gemma4Error, match="has ended") as caught:
        rival.answer(Asked("", "crash"))
    assert "status 3" in caught.value.cause
    assert "hello" in rival.answer(Asked("", "hello"))


def test_a_crash_in_a_run_costs_one_item(rival: Rival, tmp_path: Path) -> None:
    words = ["one", "crash", "two"]
    items = [Item(word, {}, lambda word=word: Asked("", word)) for word in words]  # type: ignore[misc]
    rows = run(Counting(items), [rival], Choice(), tmp_path)
    assert [row.failed for row in rows] == [False, True, False]


def test_a_rival_that_is_not_installed_says_how_to_install_it(
    python: Callable[[str], str],
) -> None:
    with pytest.raises(Gemma4Error, match="mlx-vlm:model is not there") as caught:
        Rival("mlx-vlm:model", python(MISSING))
    assert caught.value.cause == "The Python package mlx_vlm is not installed."
    assert "pip install 'mlx-gemma4[mlx-vlm]'" in caught.value.remedy


@pytest.mark.parametrize("name", ["mlx-vlm", "mlx-vlm:./nowhere", "mlx-vlm:nobody/nothing"])
def test_a_model_that_a_rival_does_not_know_is_an_error(
    name: str, python: Callable[[str], str]
) -> None:
    with pytest.raises(Gemma4Error, match=name):
        Rival(name, python(LIBRARY))


def test_a_folder_within_the_home_is_found(
    python: Callable[[str], str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    rival = Rival(f"mlx-vlm:~/{folder.name}", python(LIBRARY))
    assert rival.revision == surroundings.revision(folder)
    rival.close()


def test_weights_that_differ_anywhere_are_of_another_revision(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert surroundings.revision(copy) == surroundings.revision(folder)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert surroundings.revision(copy) != surroundings.revision(folder)
    with weights.open("wb") as large:  # a sparse file of which only pieces are read
        large.truncate(2**31)
        before = surroundings.revision(copy)
        large.seek(2**30)
        large.write(b"another" * 20)
        large.flush()
        assert surroundings.revision(copy) != before


def test_a_rival_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(Gemma4Error, match="There is no baseline hal") as caught:
        Rival("hal:9000")
    assert all(name in caught.value.remedy for name in KNOWN)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo hello", "is not understood"),
        ("echo 12", "is not understood"),
        ("exit 3", "has ended"),
        ("kill -9 $$", "has ended"),
    ],
)
def test_a_program_that_is_no_python_is_an_error(script: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Gemma4Error, match=said):
        Rival("mlx-vlm:model", program(tmp_path / "python", script))


def test_an_interpreter_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Gemma4Error, match="cannot be started") as caught:
        Rival("mlx-vlm:model", str(tmp_path / "python"))
    assert "No such file" in caught.value.cause


def test_a_rivals_process_needs_none_of_our_dependencies(tmp_path: Path) -> None:
    """An isolated Python without site-packages can import what a rival's process starts with."""
    (tmp_path / "mlx_gemma4").symlink_to(Path(mlx_gemma4.__file__).parent)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "import mlx_gemma4.evaluate.baselines.programs"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_a_folder_that_lacks_names_and_turns_is_completed_beside_it(
    folder: Path, tmp_path: Path
) -> None:
    before = sorted(folder.iterdir())
    place = completed(folder, tmp_path)
    assert place == tmp_path and sorted(folder.iterdir()) == before
    names = json.loads((place / "tokenizer_config.json").read_text())
    assert names["image_token"] == NAMES["image_token"]
    assert (place / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert completed(place, tmp_path / "never") == place


@pytest.mark.parametrize("system", [False, True])
def test_the_turns_that_are_added_are_those_that_our_model_reads(system: bool) -> None:
    turns = [Turn("system", (TextPart("Be brief."),))] * system + [
        Turn("user", (TextPart("hello"),))
    ]
    messages = [{"role": "system", "content": "Be brief."}] * system
    messages.append({"role": "user", "content": "hello"})
    template = Environment(keep_trailing_newline=True).from_string(TEMPLATE)
    text = template.render(messages=messages, bos_token="<bos>", add_generation_prompt=True)
    assert text == chat_text(turns)
