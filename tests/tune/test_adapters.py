"""Adapters on the disk and on a model: the same logits whichever way they go."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlx_gemma4
from mlx_gemma4 import Gemma4Error
from mlx_gemma4.checkpoint import adapted, adapters
from mlx_gemma4.checkpoint.adapters import Adapter, Kind
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.cli import main
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.hub import installed_adapters
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.runtime import commands
from mlx_gemma4.runtime.reports import Loaded
from mlx_gemma4.runtime.worker import Worker
from mlx_gemma4.session.prefix_store import fingerprint
from mlx_gemma4.tune import lora

IDS = [2, 4, 30, 31, 32, 40, 50, 60]


def logits(model: Gemma4) -> np.ndarray:
    return np.array(model.forward(IDS)[0])


def made(model: Gemma4, kind: Kind = "lora", seed: int = 0, embedders: bool = True) -> Adapter:
    """A random adapter of what is then a model with layers for training."""
    lora.add(model, 4, 2.0, seed, kind, embedders)
    for name, value in lora.trained(model).items():
        noise = mx.random.normal(value.shape, key=mx.random.key(seed + len(name)))
        model.load_weights([(name, value + 0.05 * noise)], strict=False)
    return lora.adapter_of(model, 4, 2.0, kind, {"base": "a model"})


@pytest.fixture(scope="module")
def lora_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lora")
    adapters.write(made(load_folder(folder)), place)
    return place


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(installed_adapters, "folder", lambda: tmp_path / "adapters")
    return tmp_path / "adapters"


@pytest.mark.parametrize("form", ["own", "peft"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("layout", ["one_row", "plain"])
def test_an_adapter_that_is_written_and_read_gives_the_same_logits(
    folder: Path, tmp_path: Path, layout: str, kind: Kind, form: str
) -> None:
    model = load_folder(folder, layout=layout)  # type: ignore[arg-type]
    plain = logits(model)
    adapter = made(model, kind)
    trained = logits(model)
    if form == "own":
        adapters.write(adapter, tmp_path)
    else:
        adapters.write_peft(adapter, tmp_path, "a/model")
    other = load_folder(folder)  # in the one-row layout, whatever it was trained in
    adapted.attach(other, adapters.read(tmp_path))
    assert np.abs(trained - plain).max() > 0.5
    bound = 0.0 if layout == "one_row" and kind == "lora" else 1e-4
    assert np.abs(logits(other) - trained).max() <= bound
    adapted.detach(other)
    assert np.abs(logits(other) - plain).max() <= (0.0 if layout == "one_row" else 1e-4)


def test_the_file_holds_the_tensors_in_the_checkpoints_own_order(
    folder: Path, tmp_path: Path
) -> None:
    adapter = made(load_folder(folder, layout="plain"))
    moved = made(load_folder(folder, layout="one_row"))
    name = "language_model.model.layers.2.self_attn.q_proj"
    assert not mx.array_equal(adapter.tensors[f"{name}.lora_b"], moved.tensors[f"{name}.lora_b"])
    # what is random differs; what it changes does not depend on the layout of the reader
    adapters.write(moved, tmp_path)
    one, other = (load_folder(folder, layout=layout) for layout in ("plain", "one_row"))  # type: ignore[arg-type]
    for model in (one, other):
        adapted.attach(model, adapters.read(tmp_path))
    assert np.abs(logits(one) - logits(other)).max() <= 1e-4


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_merged_weight_computes_what_the_adapter_does(folder: Path, kind: Kind) -> None:
    model = load_folder(folder, layout="plain")
    adapter = made(load_folder(folder, layout="plain"), kind)
    merged = load_folder(folder, layout="plain")
    adapted.attach(model, adapter)
    weights = merged.tensors()
    changed = [(f"{p}.weight", adapter.merged(p, weights[f"{p}.weight"])) for p in adapter.paths]
    merged.load_weights(changed, strict=False)
    assert np.abs(logits(merged) - logits(model)).max() <= 1e-4


def test_a_model_is_loaded_with_an_adapter_by_folder_and_by_name(
    folder: Path, lora_folder: Path, home: Path
) -> None:
    installed_adapters.install(lora_folder, "mine")
    assert installed_adapters.names() == ["mine"]
    assert installed_adapters.facts_of("mine")["base"] == "a model"
    plain = logits(mlx_gemma4.load(folder))
    first = logits(mlx_gemma4.load(folder, lora_folder))
    for named in (mlx_gemma4.load(folder, "mine"), mlx_gemma4.load(f"{folder}:mine")):
        assert np.array_equal(logits(named), first)
    assert not np.array_equal(first, plain)


def test_a_question_is_asked_of_the_model_with_its_adapter(folder: Path, lora_folder: Path) -> None:
    plain, changed = OurModel(str(folder)), OurModel(f"{folder}:{lora_folder}")
    assert changed.revision.startswith(plain.revision + "+")
    assert np.array_equal(logits(changed.model), logits(mlx_gemma4.load(folder, lora_folder)))
    assert not np.array_equal(logits(changed.model), logits(plain.model))


def test_parked_rows_of_another_adapter_are_not_used(folder: Path, lora_folder: Path) -> None:
    model = mlx_gemma4.load(folder)
    plain = fingerprint(model)
    adapted.attach(model, adapters.read(lora_folder))
    assert fingerprint(model) != plain
    adapted.detach(model)
    assert fingerprint(model) == plain


def reply(worker: Worker, conversation: str) -> tuple[int, ...]:
    (done,) = [
        report.event
        for report in worker.until(worker.send(commands.Reply(10, 0, conversation=conversation)))
        if hasattr(report.event, "reason")
    ]
    return tuple(done.ids)  # type: ignore[attr-defined]


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


def test_a_worker_exchanges_the_adapter_and_keeps_the_weights(
    folder: Path, lora_folder: Path, home: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_gemma4.runtime import slots

    def asked(name: str, *others: Any) -> object:
        loads.append(name)
        return load(name, *others)

    installed_adapters.install(lora_folder, "mine")
    loads: list[str] = []
    load = slots.load_noted
    monkeypatch.setattr(slots, "load_noted", asked)
    answers = []
    for name in (str(folder), f"{folder}:mine", str(folder), f"{folder}:mine"):
        events = [r.event for r in worker.until(worker.send(commands.Load(name)))]
        assert any(isinstance(event, Loaded) for event in events)
        list(worker.until(worker.send(commands.Open(conversation="c"))))
        list(worker.until(worker.send(commands.AddText("hello", conversation="c"))))
        answers.append(reply(worker, "c"))
    assert loads == [str(folder)]
    assert answers[0] == answers[2] != answers[1] == answers[3]


def test_ask_answers_with_an_adapter(
    folder: Path, lora_folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(*more: str) -> str:
        own = ["--model", str(folder), "--temperature", "0", "--max-tokens", "8"]
        assert main(["ask", "hello", *own, *more]) == 0
        return capsys.readouterr().out

    assert answer("--adapter", str(lora_folder)) != answer()


def changed(lora_folder: Path, place: Path, **settings: object) -> Path:
    shutil.copytree(lora_folder, place)
    path = place / adapters.ADAPTER_SETTINGS
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return place


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"fine_tune_type": "full"}, "fine_tune_type is 'full'"),
        ({"lora_parameters": {"rank": 8, "scale": 2.0}}, "not the rank of 8"),
        ({"lora_parameters": {"rank": 4}}, "no scale"),
        ({"lora_parameters": {"rank": "4", "scale": 2.0}}, "rank"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"peft_type": "LORA", "r": 4, "lora_alpha": 8}, "adapter_model.safetensors"),
    ],
)
def test_settings_that_cannot_be_used_are_reported(
    lora_folder: Path, tmp_path: Path, settings: dict[str, object], cause: str
) -> None:
    with pytest.raises(Gemma4Error) as caught:
        adapters.read(changed(lora_folder, tmp_path / "a", **settings))
    assert caught.value.code == "adapter_unusable"
    assert cause in caught.value.cause


def test_a_folder_that_is_no_adapter_is_reported(folder: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "gone"):
        with pytest.raises(Gemma4Error, match="gemma4 tune"):
            adapters.read(place)
        with pytest.raises(Gemma4Error, match="There is no adapter"):
            mlx_gemma4.load(folder, place)


def test_damaged_weights_are_reported(lora_folder: Path, tmp_path: Path) -> None:
    place = changed(lora_folder, tmp_path / "a")
    weights = place / adapters.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Gemma4Error) as caught:
        adapters.read(place)
    assert caught.value.code == "adapter_unusable"


@pytest.mark.parametrize("lost", ["lora_a", "lora_b"])
def test_a_lost_tensor_and_one_that_is_not_finite_are_reported(
    lora_folder: Path, tmp_path: Path, lost: str
) -> None:
    adapter = adapters.read(lora_folder)
    name = f"{adapter.paths[3]}.{lost}"
    for number, tensors in enumerate(
        (
            {n: t for n, t in adapter.tensors.items() if n != name},
            {**adapter.tensors, name: adapter.tensors[name] * mx.inf},
        )
    ):
        adapters.write(replace(adapter, tensors=tensors), tmp_path / str(number))
        with pytest.raises(Gemma4Error, match=adapter.paths[3]):
            adapters.read(tmp_path / str(number))


def test_an_adapter_of_another_model_is_refused_and_the_model_stays(
    model: Gemma4, lora_folder: Path
) -> None:
    tiny = mlx_gemma4.load("tiny")
    before = logits(tiny)
    with pytest.raises(Gemma4Error, match="the model that it was trained on"):
        adapted.attach(tiny, adapters.read(lora_folder))
    assert np.array_equal(logits(tiny), before)


def test_a_name_that_cannot_be_installed_is_refused(lora_folder: Path, home: Path) -> None:
    installed_adapters.install(lora_folder, "mine")
    for name in ("mine", "../mine", "", "a:b"):
        with pytest.raises(Gemma4Error, match="cannot be installed"):
            installed_adapters.install(lora_folder, name)


def test_a_place_that_cannot_be_written_is_refused_with_the_name(home: Path) -> None:
    installed_adapters.folder().write_text("a file where the folder belongs")
    with pytest.raises(Gemma4Error, match="is a file") as raised:
        installed_adapters.check_name("mine")
    assert raised.value.code == "folder_unwritable"


OTHERS = {  # a path in the module tree -> how other programs name it
    "mlx-lm, text alone": lambda path: path.removeprefix("language_model."),
    "PEFT": lambda path: path.replace(
        "language_model.model.", "base_model.model.model.language_model.", 1
    ),
    "PEFT, text alone": lambda path: path.replace("language_model.", "base_model.model.", 1),
    "PEFT, before 2026": lambda path: f"base_model.model.{path}",
}


@pytest.mark.parametrize("form", OTHERS)
def test_an_adapter_of_another_program_changes_what_ours_does(
    folder: Path, tmp_path: Path, form: str
) -> None:
    adapter = made(load_folder(folder), embedders=False)
    ours = load_folder(folder)
    adapted.attach(ours, adapter)
    settings: dict[str, object] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
    weights, tensors = "adapter_model.safetensors", {}
    for name, tensor in adapter.tensors.items():
        path, _, leaf = name.rpartition(".")
        if form.startswith("PEFT"):
            path, tensor = f"{OTHERS[form](path)}.{leaf[:-1]}{leaf[-1].upper()}", tensor.T
            tensors[f"{path}.weight"] = mx.contiguous(tensor)
        else:
            tensors[f"{OTHERS[form](path)}.{leaf}"] = tensor
    if not form.startswith("PEFT"):
        weights = "adapters.safetensors"
        parameters = {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
        settings = {"fine_tune_type": "lora", "num_layers": 8, "lora_parameters": parameters}
    mx.save_safetensors(str(tmp_path / weights), tensors)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert np.array_equal(logits(mlx_gemma4.load(folder, tmp_path)), logits(ours))


def test_the_older_form_of_mlx_vlm_is_read(folder: Path, tmp_path: Path) -> None:
    adapter = made(load_folder(folder), embedders=False)
    ours = load_folder(folder)
    adapted.attach(ours, adapter)
    tensors = {
        name.replace(".lora_a", ".A").replace(".lora_b", ".B"): tensor
        for name, tensor in adapter.tensors.items()
    }
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), tensors)
    (tmp_path / "adapter_config.json").write_text('{"rank": 4, "alpha": 8.0, "dropout": 0.0}')
    assert np.array_equal(logits(mlx_gemma4.load(folder, tmp_path)), logits(ours))


@pytest.mark.parametrize(
    "setting",
    [
        {"alpha_pattern": {"q_proj": 4}},
        {"rank_pattern": {"q_proj": 4}},
        {"modules_to_save": ["embed_tokens"]},
        {"init_lora_weights": "pissa"},
    ],
)
def test_what_peft_does_beside_the_sum_is_refused_and_not_left_out(
    folder: Path, tmp_path: Path, setting: dict[str, object]
) -> None:
    adapters.write_peft(made(load_folder(folder)), tmp_path, "a/model")
    config = tmp_path / "adapter_config.json"
    assert adapters.read(tmp_path).scale == 2.0
    config.write_text(json.dumps(json.loads(config.read_text()) | setting))
    with pytest.raises(Gemma4Error, match=next(iter(setting))):
        adapters.read(tmp_path)


def test_pefts_names_are_those_of_transformers_modules(folder: Path, tmp_path: Path) -> None:
    """Some of those that PEFT 0.21.2 wrote itself for transformers 5.24."""
    adapters.write_peft(made(load_folder(folder)), tmp_path, "a/model")
    written = mx.load(str(tmp_path / adapters.PEFT_WEIGHTS))
    for module in (
        "embed_audio.embedding_projection",
        "embed_vision.multimodal_embedder.embedding_projection",
        "embed_vision.patch_dense",
        "language_model.layers.0.self_attn.q_proj",
    ):
        assert f"base_model.model.model.{module}.lora_A.weight" in written
