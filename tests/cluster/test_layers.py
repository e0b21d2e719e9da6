"""Layers are sent to a worker without any file, kept and resumed; and what they take of memory."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlx_gemma4
from mlx_gemma4.checkpoint.load import load_folder, save_folder
from mlx_gemma4.cluster import layers
from mlx_gemma4.cluster.cut import Cut, layer_tensors, part_tensors
from mlx_gemma4.cluster.fit import parts
from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.cluster.leader import LeadingModel
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import device, estimate, summary
from mlx_gemma4.model.config import Config
from mlx_gemma4.testing.doubles import tiny_config, tiny_model
from tests.cluster.processes import lead

MODULE = "tests.cluster.test_layers"
IDS = np.arange(20, 60)


def send(folder: str, own: str, keep: bool, cache: str) -> dict[str, Any]:
    """In a leader: what was sent, and whether the logits are those of one process."""
    os.environ["XDG_CACHE_HOME"] = cache
    hosts = Hosts(("local",), keep=keep, folder=own or None, patience=120)
    sent: list[tuple[str, int, int]] = []
    model = mlx_gemma4.load(folder, hosts=hosts, progress=lambda *step: sent.append(step))
    alone = load_folder(folder)
    same = np.array(model.forward(IDS)).tobytes() == np.array(alone.forward(IDS)).tobytes()
    kept = sorted(path.name for path in Path(cache).rglob("*.safetensors"))
    return {"sent": sent, "same": same, "kept": kept}


def test_a_worker_without_any_file_loads_from_the_leader(
    folders: dict[str, str], tmp_path: Path
) -> None:
    result = lead(MODULE, "send", folders["tiny 4bit"], "", False, str(tmp_path))
    assert result["same"] and result["kept"] == []
    host, first, total = result["sent"][0]
    assert (host, first) == ("local", 0) and total > 50_000
    assert result["sent"][-1] == ["local", total, total]
    assert len(result["sent"]) == 3 + 1  # a step a layer, and the end


def test_layers_that_are_kept_are_not_sent_again_and_those_that_are_lost_are(
    folders: dict[str, str], tmp_path: Path
) -> None:
    folder = folders["tiny 4bit"]
    first = lead(MODULE, "send", folder, "", True, str(tmp_path))
    assert first["same"] and len(first["kept"]) == 3
    again = lead(MODULE, "send", folder, "", True, str(tmp_path))
    assert again["same"] and again["sent"] == [["local", 0, 0]]
    # as after a run that was cut: the rest is sent
    lost = next(tmp_path.rglob("*.safetensors"))
    lost.unlink()
    resumed = lead(MODULE, "send", folder, "", True, str(tmp_path))
    assert resumed["same"] and [step[1] for step in resumed["sent"]][0] == 0
    assert len(resumed["sent"]) == 2 and resumed["kept"] == first["kept"]
    # another model's layers take their place
    other = lead(MODULE, "send", folders["tiny fp32"], "", True, str(tmp_path))
    assert other["same"] and len(other["kept"]) == 3
    assert not set(other["kept"]) & set(first["kept"])


def cut_off(folder: str, cache: str, who: str) -> dict[str, Any]:
    """In a leader: it, or its worker, is killed when the first layer is kept; why loading ended."""
    os.environ["XDG_CACHE_HOME"] = cache

    def sent(host: str, done: int, total: int) -> None:
        if not done:
            return
        while not any(Path(cache).rglob("*.safetensors")):
            time.sleep(0.01)
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        workers = [int(pid) for path in children for pid in path.read_text().split()]
        for pid in workers if who == "worker" else [os.getpid()]:
            os.kill(pid, signal.SIGKILL)

    try:
        mlx_gemma4.load(folder, hosts=Hosts(("local",), keep=True, patience=120), progress=sent)
    except Gemma4Error as error:
        return {"code": error.code}
    return {}


@pytest.mark.parametrize("who", ["worker", "leader"])
def test_after_a_cut_in_the_middle_of_sending_only_the_rest_is_sent(
    who: str, folders: dict[str, str], tmp_path: Path
) -> None:
    folder = folders["tiny fp32"]
    if who == "worker":
        assert lead(MODULE, "cut_off", folder, str(tmp_path), who) == {"code": "host_lost"}
    else:
        with pytest.raises(AssertionError):
            lead(MODULE, "cut_off", folder, str(tmp_path), who)
    kept = len([*tmp_path.rglob("*.safetensors")])
    assert 0 < kept < 3
    again = lead(MODULE, "send", folder, "", True, str(tmp_path))
    assert again["same"] and len(again["kept"]) == 3
    assert len(again["sent"]) == 3 - kept + 1


def test_what_a_killed_worker_had_begun_to_write_is_removed_in_time(tmp_path: Path) -> None:
    begun = tmp_path / f"new-{'0' * 16}.safetensors"
    begun.write_bytes(b"half")
    layers.KeptLayers(None, tmp_path)
    assert begun.exists()  # another worker may be writing it
    os.utime(begun, (0, 0))
    layers.KeptLayers(None, tmp_path)
    assert not begun.exists()


def test_layers_of_the_workers_own_folder_are_read_there(
    folders: dict[str, str], tmp_path: Path
) -> None:
    folder = folders["tiny 4bit"]
    result = lead(MODULE, "send", folder, folder, False, str(tmp_path))
    assert result["same"] and result["sent"] == [["local", 0, 0]]
    other = lead(MODULE, "send", folder, folders["tiny fp32"], False, str(tmp_path))
    assert other["same"] and len(other["sent"]) == 4


def test_a_layer_of_more_digits_than_python_reads_is_in_no_part() -> None:
    assert part_tensors({f"model.layers.{'1' * 5000}.norm.weight": 1}, range(4), False) == {}


def test_a_digest_is_of_names_shapes_and_bytes(tmp_path: Path) -> None:
    save_folder(tiny_model(), tmp_path / "a")
    save_folder(tiny_model(), tmp_path / "b")
    one, other = (layers.stored_tensors(tmp_path / name) for name in "ab")
    digests = [layers.digest(layer_tensors(one, n)) for n in range(6)]
    assert len(set(digests)) == 6
    assert [layers.digest(layer_tensors(other, n)) for n in range(6)] == digests
    weights = dict(tiny_model().tensors())
    name = "language_model.model.layers.1.layer_scalar"
    weights[name] = weights[name] + 1
    mx.save_safetensors(str(tmp_path / "b" / "model.safetensors"), weights)
    changed = layers.stored_tensors(tmp_path / "b")
    assert layers.digest(layer_tensors(changed, 1)) != digests[1]


def test_a_kept_layer_that_was_changed_is_refused(tmp_path: Path) -> None:
    kept = layers.KeptLayers(None, tmp_path)
    kept.add("0" * 64, {"language_model.model.layers.0.layer_scalar": mx.ones(1)})
    assert kept.digests(range(0)) == ["0" * 64]
    with pytest.raises(Gemma4Error, match="A kept layer was changed"):
        kept.read("0" * 64, range(0))


def missing(folder: str, own: str) -> dict[str, Any]:
    """In a leader: the error where a worker is to read a folder that it has not."""
    try:
        mlx_gemma4.load(folder, hosts=Hosts(("local",), folder=own, patience=120))
    except Gemma4Error as error:
        return {"code": error.code, "cause": error.cause}
    return {}


def test_a_folder_that_a_worker_has_not_is_named(folders: dict[str, str], tmp_path: Path) -> None:
    own = str(tmp_path / "none")
    result = lead(MODULE, "missing", folders["tiny 4bit"], own)
    assert result["cause"].startswith("On local: ") and own in result["cause"]


def test_layers_that_cannot_be_kept_are_an_error_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = layers.KeptLayers(None, tmp_path / "file")
    with pytest.raises(Gemma4Error, match="The layers cannot be kept") as caught:
        kept.add("0" * 64, {"layer_scalar": mx.ones(1)})
    assert str(tmp_path / "file") in caught.value.cause


def large_config() -> Config:
    """Layers that are large beside what a process has besides: 3 MB each."""
    raw = dict(tiny_config().raw)
    raw["text_config"] = {**raw["text_config"], "hidden_size": 256, "intermediate_size": 2048}
    raw["vision_config"] = {**raw["vision_config"], "mm_embed_dim": 256}
    return Config.from_dict(raw)


def memory(folder: str) -> dict[str, Any]:
    """In a leader: bytes on both sides after loading and with a context, and the leader's peak."""
    risen: list[int] = []

    def sent(host: str, done: int, total: int) -> None:
        if not done:
            mx.reset_peak_memory()
            risen.append(mx.get_active_memory())
        elif done == total:
            risen.append(mx.get_peak_memory() - risen[0])

    alone = mlx_gemma4.load(folder, hosts=Hosts(("local",), patience=120), progress=sent)
    assert isinstance(alone, LeadingModel)
    crew, (worker,) = alone.crew, alone.crew.workers
    cache = alone.make_cache()
    tokens = 600
    for _ in range(tokens // 300):
        mx.eval(alone.hidden(alone.embed(np.arange(300) % 400 + 20), cache))
    mx.eval(alone.logits(alone.hidden(alone.embed([7]), cache)))
    crew.ring.flush()
    mx.clear_cache()
    crew.send(worker, "count")
    counted = crew.reply(worker, "count")[1]
    outline = summary.of_folder(Path(folder))
    cut = Cut((worker.layers.start, worker.layers.stop))
    needs = [
        estimate.need(part, device.this(), tokens + 1, answer=1)
        for part in parts(outline.model, cut)
    ]
    largest = max(t.nbytes for n, t in outline.tensors.items() if ".layers." in n)
    # who spins takes all of a core, which five seconds show
    before = [cpu_seconds(pid) for pid in (os.getpid(), worker.pid)]
    time.sleep(5)
    after = [cpu_seconds(pid) for pid in (os.getpid(), worker.pid)]
    return {
        "predicted": [need.weights + need.rows for need in needs],
        "held": [mx.get_active_memory(), counted["active"]],
        "largest": largest,
        "risen while sending": risen[1],
        "idle": [b - a for a, b in zip(before, after, strict=True)],
    }


def cpu_seconds(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_memory_on_each_computer_is_what_fit_predicts(tmp_path: Path) -> None:
    save_folder(tiny_model(config=large_config()), tmp_path)
    found = lead(MODULE, "memory", str(tmp_path))
    for held, predicted in zip(found["held"], found["predicted"], strict=True):
        assert held == pytest.approx(predicted, rel=0.02)
    assert 0 < found["risen while sending"] <= 1.1 * found["largest"]
    assert max(found["idle"]) <= 0.02 * 5 + 0.02  # the clock of /proc counts in 10 ms
