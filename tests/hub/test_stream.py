import shutil
from pathlib import Path

import pytest

from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.convert import budget, plan, rewrite
from mlx_gemma4.convert.convert import convert, partial, verify
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import disk
from mlx_gemma4.hub import hub as downloads
from mlx_gemma4.hub.catalog import RECORD
from mlx_gemma4.hub.sources import Folder, Stream
from tests.hub.server import COMMIT, Hub
from tests.unit.checkpoints import publish

REPO = "google/gemma-4-shards"
SHARDS = 5


@pytest.fixture
def published(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sharded model on the Hub, and the same as a folder."""
    publish(tmp_path / "published", SHARDS)
    hub.files[REPO] = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    monkeypatch.setattr(rewrite, "_ROWS", 20_000)
    return tmp_path / "published"


def stream(target: Path, report: downloads.Report | None = None) -> Stream:
    return Stream(downloads.look_up(REPO), partial(target) / "source", report)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def weights_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD}


def test_no_more_than_two_files_of_the_source_are_on_the_disk_at_a_time(
    hub: Hub, published: Path, tmp_path: Path
) -> None:
    target, held = tmp_path / "out", list[tuple[int, int]]()

    def watch(progress: object) -> None:
        shards = list((partial(target) / "source").glob("model-*"))
        held.append((len(shards), size(partial(target))))

    convert(stream(target, watch), target, RECIPES["4bit"], watch)
    largest = max(path.stat().st_size for path in published.glob("*.safetensors"))
    assert {count for count, _ in held} <= {1, 2}
    assert max(used for _, used in held) <= size(target) + 2 * largest
    assert not partial(target).exists()
    assert weights_of(target) == weights_of(
        convert(Folder(published), tmp_path / "local", RECIPES["4bit"])
    )
    assert load_folder(target).layout == "one_row"


def test_a_budget_is_measured_with_one_file_on_the_disk_at_a_time(
    hub: Hub, published: Path, tmp_path: Path
) -> None:
    held: list[int] = []
    source = stream(tmp_path / "out")

    def watch(progress: object) -> None:
        held.append(len(list(source.settings.glob("model-*"))))

    size = plan.make_plan(source, RECIPES["4bit"]).nbytes
    recipe = budget.within(source, size, tmp_path / "streamed.json", watch)
    assert recipe == budget.within(Folder(published), size, tmp_path / "local.json")
    assert set(held) == {1} and not list(source.settings.glob("model-*.safetensors"))


def test_the_record_says_which_commit_it_was_made_of(
    hub: Hub, published: Path, tmp_path: Path
) -> None:
    convert(stream(tmp_path / "out"), tmp_path / "out", RECIPES["4bit"])
    record = verify(tmp_path / "out")
    assert (record["source"], record["commit"]) == (REPO, COMMIT)


def test_a_cut_stream_downloads_only_what_is_not_converted_yet(
    hub: Hub, published: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"

    def cut(progress: object) -> None:
        if len(list((partial(target) / "model").glob("*.safetensors"))) == 2:
            hub.cut_after = [1000, 0, 0]

    with pytest.raises(Gemma4Error, match="cannot be reached"):
        convert(stream(target), target, RECIPES["4bit"], cut)
    done = len(list((partial(target) / "model").glob("*.safetensors")))
    assert 0 < done < SHARDS
    hub.requests.clear()
    hub.cut_after = []
    convert(stream(target), target, RECIPES["4bit"])
    whole = [path for method, path, ranges in hub.requests if "cdn" in path and not ranges]
    assert len(whole) < SHARDS - done + 1
    assert weights_of(target) == weights_of(
        convert(Folder(published), tmp_path / "local", RECIPES["4bit"])
    )


def test_a_cancelled_download_of_a_file_stops_the_conversion(
    hub: Hub, published: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    start = hub.sent
    source = Stream(
        downloads.look_up(REPO),
        partial(target) / "source",
        cancelled=lambda: hub.sent > start + 20_000,
    )
    start, hub.chunk, hub.pause = hub.sent, 1000, 0.02
    assert convert(source, target, RECIPES["4bit"]) is None
    assert not target.exists()


def test_the_headers_of_a_repository_say_what_a_conversion_will_weigh(
    hub: Hub, published: Path, tmp_path: Path
) -> None:
    planned = plan.make_plan(stream(tmp_path / "out"), RECIPES["4bit"])
    local = plan.make_plan(Folder(published), RECIPES["4bit"])
    assert planned.nbytes == local.nbytes
    assert [file.name for file in planned.files] == [file.name for file in local.files]
    asked = [ranges for _, path, ranges in hub.requests if "cdn" in path]
    assert asked and None not in asked


def test_a_repository_with_something_else_under_the_name_of_weights_is_refused(
    hub: Hub, published: Path, tmp_path: Path
) -> None:
    name = next(name for name in hub.files[REPO] if name.endswith(".safetensors"))
    hub.files[REPO][name] = b"<html>" + b" " * 1000
    with pytest.raises(Gemma4Error, match="no safetensors file"):
        stream(tmp_path / "out")


def test_the_disk_must_hold_the_result_and_one_file_of_the_source(
    hub: Hub, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stream(tmp_path / "out")
    planned = plan.make_plan(source, RECIPES["4bit"])
    free = disk.SPARE + planned.nbytes + source.room - 1
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    hub.requests.clear()
    with pytest.raises(Gemma4Error, match="disk is too small"):
        convert(source, tmp_path / "out", RECIPES["4bit"])
    assert not hub.requests
