from pathlib import Path

import pytest

from mlx_gemma4 import catalog
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.images import BUDGETS

GOOD = """
["somebody/model"]
title = "A model"
license = "MIT"
repo = "somebody/model"
revision = "main"
audio_seconds = 30
image_tokens = [70]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "Package.toml"
    path.write_text(text)
    return path


def test_the_shipped_catalogue_is_valid_and_knows_the_12b_and_the_demonstration() -> None:
    packages = catalog.packages()
    assert packages["google/gemma-4-12B-it"].audio_safe_position == 448
    assert packages[catalog.DEMONSTRATION].audio_safe_position is None
    assert all(set(package.image_tokens) <= set(BUDGETS) for package in packages.values())


def test_a_package_is_read_whole(tmp_path: Path) -> None:
    (package,) = catalog.read(written(tmp_path, GOOD)).values()
    assert (package.name, package.repo, package.path) == ("somebody/model", "somebody/model", None)
    assert (package.audio_seconds, package.image_tokens) == (30, (70,))


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('"A model"', "A model", "not valid TOML"),
        ('license = "MIT"', "", "lacks license"),
        ("license", "licence", "not known: licence"),
        ("= 30", '= "30"', "audio_seconds is '30', not a whole number"),
        ("= 30", "= true", "audio_seconds is True, not a whole number"),
        ("[70]", "[70.5]", "image_tokens are not all whole numbers"),
        ('repo = "somebody/model"\nrevision = "main"', "", "needs either path or repo"),
        ('revision = "main"', 'path = "here"\nrevision = "main"', "needs either path or repo"),
        ('revision = "main"', "", "needs a revision"),
        ('["somebody/model"]', "", "title is not a table"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_the_place(
    tmp_path: Path, old: str, new: str, cause: str
) -> None:
    assert old in GOOD
    with pytest.raises(Gemma4Error) as caught:
        catalog.read(written(tmp_path, GOOD.replace(old, new)))
    assert cause in caught.value.cause


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert catalog.resolve(tmp_path) == tmp_path
    assert catalog.resolve(str(tmp_path)) == tmp_path


def test_the_demonstration_lies_in_the_project() -> None:
    folder = catalog.resolve(catalog.DEMONSTRATION)
    assert (folder / "config.json").is_file()


def test_a_downloaded_package_is_found_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--google--gemma-4-12B-it"
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with pytest.raises(Gemma4Error, match="nor complete in the Hugging Face cache"):
            catalog.resolve("google/gemma-4-12B-it")
        (snapshot / name).write_text("{}")
    assert catalog.resolve("google/gemma-4-12B-it") == snapshot
    with pytest.raises(Gemma4Error, match="hf download google/gemma-4-12B"):
        catalog.resolve("google/gemma-4-12B")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("tinny", "Did you mean tiny?"),
        ("xyz", "Packages: tiny, tiny-4bit, google/gemma-4-12B-it"),
        ("./no/such/folder", "Packages: tiny"),
        ("nobody/nothing--here", "hf download nobody/nothing--here"),
    ],
)
def test_an_unknown_model_gets_a_remedy(
    name: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Gemma4Error) as caught:
        catalog.resolve(name)
    assert remedy in caught.value.remedy
