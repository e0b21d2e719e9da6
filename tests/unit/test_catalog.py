import json
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from mlx_gemma4.checkpoint import recipes
from mlx_gemma4.checkpoint.architectures import ARCHITECTURES
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import catalog, installed
from mlx_gemma4.hub.installed import InstalledModel
from mlx_gemma4.media.images import BUDGETS

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
    wanted = {package.recipe for package in packages.values() if package.recipe}
    assert wanted <= set(recipes.RECIPES)
    assert packages["google/gemma-4-12B-it-qat-q4_0-unquantized"].recipe == "qat-4bit"


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
        ('repo = "somebody/model"', 'repo = "model"', "repo is 'model', not owner/name"),
        ('["somebody/model"]', "", "title is not a table"),
        ("audio_seconds = 30", "", "lacks audio_seconds"),
        ("= 30", '= 30\nkind = "adapter"', "kind is 'adapter'"),
        ("= 30", '= 30\narchitecture = "gemma-9"', "architecture is 'gemma-9'"),
        ("= 30", '= 30\nbytes = "much"', "bytes is 'much', not a whole number"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_the_place(
    tmp_path: Path, old: str, new: str, cause: str
) -> None:
    assert old in GOOD
    with pytest.raises(Gemma4Error) as caught:
        catalog.read(written(tmp_path, GOOD.replace(old, new)))
    assert cause in caught.value.cause


def test_a_catalogue_of_another_encoding_or_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    place = written(tmp_path, GOOD)
    place.write_bytes(GOOD.replace("A model", "Größe").encode("latin-1"))
    with pytest.raises(Gemma4Error, match="not valid TOML in UTF-8"):
        catalog.read(place)
    place.write_bytes(GOOD.encode("utf-8-sig"))
    assert list(catalog.read(place)) == ["somebody/model"]
    with pytest.raises(Gemma4Error, match="cannot be read"):
        catalog.read(tmp_path)


def test_a_home_of_nobody_is_a_folder_of_that_name(tmp_path: Path) -> None:
    text = GOOD.replace('repo = "somebody/model"\nrevision = "main"', 'path = "~nobody-here/x"')
    (package,) = catalog.read(written(tmp_path, text)).values()
    assert package.path == tmp_path / "~nobody-here/x"


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
    with pytest.raises(Gemma4Error, match="gemma4 get google/gemma-4-12B"):
        catalog.resolve("google/gemma-4-12B")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("tinny", "Did you mean tiny?"),
        ("xyz", "Packages: tiny, tiny-4bit, google/gemma-4-12B-it"),
        ("./no/such/folder", "Packages: tiny"),
        ("nobody/nothing--here", "gemma4 get nobody/nothing--here"),
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


def test_a_drafter_needs_no_limits_and_is_no_model(tmp_path: Path) -> None:
    text = GOOD.replace("audio_seconds = 30\nimage_tokens = [70]", 'kind = "drafter"')
    (package,) = catalog.read(written(tmp_path, text)).values()
    assert (package.kind, package.image_tokens) == ("drafter", ())
    with pytest.raises(Gemma4Error, match="It is a drafter"):
        catalog.resolve("google/gemma-4-12B-it-assistant")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The place of the user's own catalogue."""
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path)
    catalog.packages.cache_clear()
    yield tmp_path / "Package.toml"
    catalog.packages.cache_clear()


def test_the_users_own_packages_are_added_and_win(own: Path) -> None:
    assert "somebody/model" not in catalog.packages()
    catalog.packages.cache_clear()
    own.write_text(GOOD + GOOD.replace("somebody/model", "google/gemma-4-12B-it"))
    packages = catalog.packages()
    assert packages["somebody/model"].catalogue == own
    assert packages["google/gemma-4-12B-it"].title == "A model"
    assert packages["google/gemma-4-12B"].catalogue == catalog.shipped("Package.toml")


def test_a_package_under_another_name_than_its_repository_is_opened_once_it_is_here(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text(GOOD.replace('["somebody/model"]', "[mine]"))
    with pytest.raises(Gemma4Error) as caught:
        catalog.resolve("mine")
    assert caught.value.facts["command"] == "gemma4 get mine"
    made = InstalledModel("model-4bit", own, own.parent, "somebody/model", "4bit", "")
    monkeypatch.setattr(installed, "made", lambda: iter([made]))
    assert catalog.default() == "mine" and catalog.resolve("mine") == own.parent


def test_a_wrong_catalogue_of_the_user_is_named(own: Path) -> None:
    own.write_text("nonsense")
    with pytest.raises(Gemma4Error) as caught:
        catalog.packages()
    assert str(own) in caught.value.remedy


def test_a_folder_of_the_users_catalogue_lies_beside_it_or_where_it_says(own: Path) -> None:
    for path, folder in (("model", own.parent / "model"), ("/models/a", Path("/models/a"))):
        own.write_text(
            GOOD.replace('repo = "somebody/model"', f'path = "{path}"').replace(
                'revision = "main"\n', ""
            )
        )
        catalog.packages.cache_clear()
        assert catalog.packages()["somebody/model"].path == folder


def test_a_folder_leads_to_its_package(tmp_path: Path) -> None:
    def package_of(folder: Path, **files: object) -> str | None:
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        package = catalog.package_of(folder)
        return package and package.name

    twelve = {"text_config": dict(ARCHITECTURES["gemma-4-12B"]["text_config"])}
    small = {"text_config": {"hidden_size": 192}}
    hub = tmp_path / "models--google--gemma-4-12B" / "snapshots" / "0123"
    assert package_of(hub, config=small) == "google/gemma-4-12B"
    made = {"source": "google/gemma-4-12B-it"}
    assert package_of(tmp_path / "made", config=twelve, conversion=made) == made["source"]
    # of unknown origin, but built like the 12B: what is known of that holds
    named = package_of(tmp_path / "finetune", config=twelve)
    assert named and catalog.packages()[named].audio_safe_position == 448
    assert package_of(tmp_path / "other", config=small) is None
    assert package_of(tmp_path / "broken", config=[], conversion=1) is None
    tiny = catalog.package_of(catalog.resolve("tiny"))
    assert tiny is not None and (tiny.name, tiny.audio_safe_position) == ("tiny", None)
