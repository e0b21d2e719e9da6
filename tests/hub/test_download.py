import errno
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import cache as hub_cache
from mlx_gemma4.hub import disk, transfer
from mlx_gemma4.hub import hub as library
from mlx_gemma4.hub.progress import Progress, Speed
from tests.hub.conftest import REPO
from tests.hub.server import COMMIT, Hub

WEIGHTS = "model.safetensors"


def get(report: object = None, cancelled: object = None) -> Path | None:
    return library.download(library.look_up(REPO), report=report, cancelled=cancelled)


def assert_whole(folder: Path | None, hub: Hub) -> None:
    assert folder is not None
    for name in ("config.json", "tokenizer.json", WEIGHTS):
        assert (folder / name).read_bytes() == hub.files[REPO][name]
    assert hub_cache.installed(REPO) == folder


def leftovers() -> list[Path]:
    return list(Path(constants.HF_HUB_CACHE).rglob("*.part"))


def test_what_a_model_weighs_is_known_before_a_byte_of_it_is_downloaded(hub: Hub) -> None:
    found = library.look_up(REPO)
    assert found.commit == COMMIT
    assert {f.name for f in found.files} == {"config.json", "tokenizer.json", WEIGHTS}
    assert found.size == sum(len(hub.files[REPO][file.name]) for file in found.files)
    assert not hub.asked("resolve") and not hub.asked("cdn")


def test_only_what_a_model_needs_is_downloaded_and_every_program_finds_it(hub: Hub) -> None:
    folder = get()
    assert_whole(folder, hub)
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", WEIGHTS}
    assert snapshot_download(REPO, local_files_only=True) == str(folder)
    assert not leftovers()


def test_a_second_download_asks_for_no_file(hub: Hub) -> None:
    get()
    hub.requests.clear()
    assert_whole(get(), hub)
    assert not hub.asked("resolve")


def test_a_file_that_another_program_has_downloaded_is_not_downloaded_again(hub: Hub) -> None:
    snapshot_download(REPO, allow_patterns=[WEIGHTS])
    assert hub_cache.installed(REPO) is None
    hub.requests.clear()
    assert_whole(get(), hub)
    assert not hub.asked(WEIGHTS)


def test_a_cut_connection_goes_on_where_it_was(hub: Hub) -> None:
    hub.cut_after = [100_000, 200_000]
    assert_whole(get(), hub)
    assert hub.asked("cdn") == [None, "bytes=100000-", "bytes=300000-"]


def test_a_download_that_was_given_up_goes_on_where_it_was(hub: Hub) -> None:
    hub.cut_after = [250_000, 0, 0]
    with pytest.raises(Gemma4Error, match="cannot be reached") as caught:
        get()
    assert "kept" in caught.value.remedy
    assert hub_cache.installed(REPO) is None
    hub.requests.clear()
    assert_whole(get(), hub)
    assert hub.asked("cdn") == ["bytes=250000-"]


def test_a_killed_process_loses_only_what_was_not_written(hub: Hub, tmp_path: Path) -> None:
    hub.chunk, hub.holds = 20_000, 300_000
    code = f"from mlx_gemma4.hub import hub; hub.download(hub.look_up({REPO!r}))"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        while not any(path.stat().st_size > 200_000 for path in leftovers()):
            time.sleep(0.01)
            assert process.poll() is None
        process.kill()
    assert hub_cache.installed(REPO) is None
    written = max(path.stat().st_size for path in leftovers())
    hub.holds = math.inf
    hub.requests.clear()
    assert_whole(get(), hub)
    assert hub.asked("cdn") == [f"bytes={written}-"]


def test_a_server_that_ignores_ranges_gives_the_whole_file_again(hub: Hub) -> None:
    hub.cut_after, hub.ignores_ranges = [100_000], True
    seen: list[Progress] = []
    assert_whole(get(seen.append), hub)
    assert hub.asked("cdn") == [None, "bytes=100000-"]
    assert seen[-1].done == seen[-1].total == library.look_up(REPO).size


def test_a_busy_server_is_asked_again(hub: Hub) -> None:
    hub.busy = 2
    assert_whole(get(), hub)
    assert len(hub.asked("cdn")) == 3


def test_a_server_that_stays_busy_is_an_error(hub: Hub) -> None:
    hub.busy = 100
    with pytest.raises(Gemma4Error, match="503"):
        get()
    assert hub_cache.installed(REPO) is None


def test_a_server_that_falls_silent_is_asked_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    hub.cut_after, hub.silent = [100_000], 3.0
    assert_whole(get(), hub)
    assert hub.asked("cdn") == [None, "bytes=100000-"]


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_a_file_with_a_wrong_hash_is_never_kept(hub: Hub, name: str) -> None:
    hub.corrupt = {name}
    with pytest.raises(Gemma4Error, match="damaged") as caught:
        get()
    assert name in caught.value.cause
    assert hub_cache.installed(REPO) is None
    hub.corrupt = set()
    assert_whole(get(), hub)


def test_a_damaged_rest_of_a_former_try_is_thrown_away(hub: Hub) -> None:
    hub.cut_after = [100_000, 0, 0]
    with pytest.raises(Gemma4Error):
        get()
    (partial,) = leftovers()
    partial.write_bytes(b"x" * 50_000)
    hub.requests.clear()
    assert_whole(get(), hub)
    assert hub.asked("cdn") == ["bytes=50000-", None]


def test_a_damaged_rest_that_stays_damaged_is_an_error(hub: Hub) -> None:
    hub.cut_after = [100_000, 0, 0]
    with pytest.raises(Gemma4Error):
        get()
    hub.corrupt = {WEIGHTS}
    with pytest.raises(Gemma4Error, match="damaged"):
        get()
    assert not leftovers()


def test_progress_tells_bytes_rate_and_time_left(hub: Hub) -> None:
    hub.chunk, hub.pause = 30_000, 0.04
    seen: list[Progress] = []
    get(seen.append)
    assert all(a.done <= b.done for a, b in zip(seen, seen[1:], strict=False))
    assert {progress.total for progress in seen} == {library.look_up(REPO).size}
    middle = seen[len(seen) // 2]
    assert 0 < middle.done < middle.total
    assert middle.rate > 0
    assert middle.seconds_left == pytest.approx((middle.total - middle.done) / middle.rate)
    assert seen[-1].done == seen[-1].total


def test_the_time_left_has_no_sixty_seconds() -> None:
    assert Progress(0, 1_197, 10.0).text.endswith(", 1:59 left")


def test_the_rate_is_that_of_the_last_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    speed = Speed(total=1_000_000, done=400_000)
    rates = []
    for count in (30_000, 30_000, 30_000, 0):
        now[0] += 3
        speed.add(count)
        rates.append(speed.progress().rate)
    assert rates == [10_000, 10_000, 10_000, 5_000]
    assert speed.progress().done == 490_000


def test_a_stalled_download_tells_that_nothing_comes() -> None:
    speed = Speed(100, 40)
    assert speed.progress().done == 40
    assert speed.progress().seconds_left is None


def test_a_cancelled_download_stops_and_goes_on_later(hub: Hub) -> None:
    hub.chunk, hub.holds = 20_000, 300_000  # nobody waits for what is not sent
    seen: list[Progress] = []
    assert get(seen.append, lambda: seen[-1].done > 200_000) is None
    assert hub_cache.installed(REPO) is None
    hub.holds = math.inf
    hub.requests.clear()
    assert_whole(get(), hub)
    assert hub.asked("cdn")[0] is not None


def test_a_second_download_of_the_same_file_is_refused_while_the_first_runs(hub: Hub) -> None:
    hub.chunk, hub.pause = 20_000, 0.05
    seen: list[Progress] = []
    first = threading.Thread(target=get, args=(seen.append,))
    first.start()
    while not seen or seen[-1].done < 100_000:
        time.sleep(0.01)
    with pytest.raises(Gemma4Error, match="running already"):
        get()
    hub.pause = 0.0
    first.join()
    assert_whole(hub_cache.installed(REPO), hub)


def test_a_disk_without_room_is_told_before_the_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=disk.SPARE + 100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Gemma4Error, match="disk is too small"):
        get()
    assert not hub.asked("resolve")


def test_a_disk_that_becomes_full_is_told_and_what_came_is_kept(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = transfer._Content.append

    def full(content: transfer._Content, chunk: bytes) -> None:
        if content.size > 200_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(content, chunk)

    with monkeypatch.context() as patch, pytest.raises(Gemma4Error, match="disk is full"):
        patch.setattr(transfer._Content, "append", full)
        get()
    (partial,) = leftovers()
    assert partial.stat().st_size > 200_000
    assert_whole(get(), hub)


def test_a_gated_repository_says_where_its_terms_are(hub: Hub) -> None:
    hub.gated = {REPO}
    with pytest.raises(Gemma4Error, match="gated") as caught:
        library.look_up(REPO)
    assert f"{hub.url}/{REPO}" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy and "settings/tokens" in caught.value.remedy


def test_a_token_opens_a_private_repository(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_right"
    with pytest.raises(Gemma4Error, match="401"):
        library.look_up(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(Gemma4Error, match="401"):
        library.look_up(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert_whole(get(), hub)


def test_an_unknown_repository_and_an_unknown_revision_are_told_apart(hub: Hub) -> None:
    with pytest.raises(Gemma4Error, match="404"):
        library.look_up("google/nothing")
    with pytest.raises(Gemma4Error, match="no revision v9"):
        library.look_up(REPO, "v9")
    with pytest.raises(Gemma4Error, match="owner/name"):
        library.look_up("not a name")


def test_a_repository_without_safetensors_is_refused(hub: Hub) -> None:
    del hub.files[REPO][WEIGHTS]
    with pytest.raises(Gemma4Error, match="cannot be used"):
        library.look_up(REPO)


def test_no_network_is_an_error_that_says_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Gemma4Error, match="cannot be reached"):
        library.look_up(REPO)


def test_offline_nothing_is_asked_and_what_is_here_is_found(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = get()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Gemma4Error, match="HF_HUB_OFFLINE"):
        library.look_up(REPO)
    assert hub_cache.installed(REPO) == folder
    assert not hub.requests


def test_a_sharded_folder_is_whole_only_with_every_shard_of_its_index(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model-00001-of-00002.safetensors"):
        (tmp_path / name).write_text("{}")
    assert not hub_cache.is_whole(tmp_path)
    (tmp_path / hub_cache.INDEX).write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors",'
        ' "b": "model-00002-of-00002.safetensors"}}'
    )
    assert not hub_cache.is_whole(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_text("")
    assert hub_cache.is_whole(tmp_path)
    (tmp_path / hub_cache.INDEX).write_text("cut of")
    assert not hub_cache.is_whole(tmp_path)


def test_a_sign_in_page_in_place_of_a_file_is_an_error_and_the_next_try_is_right(hub: Hub) -> None:
    hub.portal = "/cdn/"
    with pytest.raises(Gemma4Error, match="ends after 20 bytes"):
        get()
    hub.portal = ""
    assert_whole(get(), hub)
