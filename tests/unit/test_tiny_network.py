"""The network that is trained is the network that the library runs, and it learns."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import mlx_gemma4 as g4
from mlx_gemma4.evaluate.tiny.receipts import Drawing
from mlx_gemma4.evaluate.tiny.tasks import Exchange
from mlx_gemma4.media.images import patches
from tools.tiny.conversation import Example, Writer

torch = pytest.importorskip("torch", reason="belongs to the train extra")
safetensors = pytest.importorskip("safetensors.torch", reason="belongs to the train extra")

from tools.tiny import network  # noqa: E402
from tools.tiny.batches import again, collate  # noqa: E402
from tools.tiny.configuration import Shape  # noqa: E402
from tools.tiny.losses import exact, losses  # noqa: E402
from tools.train_tiny import Learner  # noqa: E402

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny"
SMALL = Shape(hidden=32, inner=64, head=16, global_head=32, window=40)


def test_the_shipped_weights_give_the_same_scores_here_and_in_the_library() -> None:
    model = network.Network(Shape())
    network.load_checkpoint(model, safetensors.load_file(TINY / "model.safetensors"))
    writer, example = _conversation()
    with torch.no_grad():
        here = model.scores(model(collate([example], writer.control("<|audio|>")))[0])[0]
    there = g4.load(TINY).forward(
        example.ids,
        images=list(zip(example.patches, example.positions, strict=True)),
        audio=example.frames,
    )
    assert np.abs(here[: len(example.ids)].numpy() - np.array(there[0])).max() < 0.02


def test_weights_come_back_from_a_checkpoint_as_they_went_in() -> None:
    model, other = network.Network(SMALL, seed=1), network.Network(SMALL, seed=2)
    network.load_checkpoint(other, network.checkpoint(model))
    writer, example = _conversation()
    batch = collate([example], writer.control("<|audio|>"))
    with torch.no_grad():
        assert torch.allclose(model(batch)[0], other(batch)[0], atol=1e-4)


def test_what_training_saves_is_loaded_by_the_library_and_gone_on_from(tmp_path: Path) -> None:
    options = argparse.Namespace(device="cpu", helpers=1.0, start=None, muon=True)
    learner = Learner(SMALL, 5, options)
    learner.save(tmp_path / "seed5")
    shutil.copy(TINY / "tokenizer.json", tmp_path / "seed5")
    writer, example = _conversation()
    batch = collate([example], writer.control("<|audio|>"))
    with torch.no_grad():
        here = learner.network.scores(learner.network(batch)[0])[0, : len(example.ids)]
    images = list(zip(example.patches, example.positions, strict=True))
    there = g4.load(tmp_path / "seed5").forward(example.ids, images=images, audio=example.frames)
    assert np.corrcoef(here.numpy().ravel(), np.array(there[0]).ravel())[0, 1] > 0.999
    options.start = tmp_path / "seed5"
    resumed = Learner(SMALL, 6, options).network
    assert torch.equal(resumed.place_key.weight, learner.network.place_key.weight)
    assert torch.allclose(resumed.norm.weight, learner.network.norm.weight, atol=0.01)


def test_a_checkpoint_of_another_size_is_refused() -> None:
    deeper = network.Network(Shape(hidden=32, inner=64, head=16, global_head=32, layers=12))
    with pytest.raises(ValueError, match="does not fit"):
        network.load_checkpoint(network.Network(SMALL), network.checkpoint(deeper))


def test_a_picture_is_seen_whole_in_sliding_layers_and_sound_only_from_the_past() -> None:
    writer, example = _conversation()
    batch = collate([example], writer.control("<|audio|>"))
    model = network.Network(SMALL, seed=3)
    first, last = (int(i) for i in (batch["blocks"][0] > 0).nonzero()[[0, -1], 0])
    with torch.no_grad():
        _, early, _ = model(batch)
        changed = dict(batch, patches=batch["patches"].clone())
        changed["patches"][-1] += 1
        _, seen, _ = model(changed)
        changed = dict(batch, frames=batch["frames"].flip(0))
        _, heard, _ = model(changed)
    assert not torch.equal(early[0, first], seen[0, first])
    assert torch.equal(early[0, : first - 1], seen[0, : first - 1])
    assert torch.equal(early[0, : last + 2], heard[0, : last + 2])


def test_forty_steps_on_one_batch_teach_its_answers() -> None:
    writer, example = _conversation()
    batch = collate([example, example], writer.control("<|audio|>"))
    model = network.Network(SMALL, seed=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        losses(model, batch).total(1.0).backward()
        optimizer.step()
    with torch.no_grad():
        assert exact(model, batch) == [[True, True]] * 2


def test_a_batch_pads_conversations_and_keeps_what_belongs_to_each() -> None:
    writer, example = _conversation()
    short = writer.write([Exchange("OAK", sound=np.ones(3000, np.float32), said="which shop")])
    batch = collate([example, short], writer.control("<|audio|>"))
    assert batch["ids"].shape[1] % 16 == 0
    assert int(batch["ids"].ne(0).sum()) == len(example.ids) + len(short.ids)
    assert int((batch["blocks"] > 0).sum()) == len(batch["patches"]) == len(example.patches[0])
    assert batch["spans"].tolist() == [13, 5]
    assert int(batch["heard"].sum()) == len(batch["frames"]) == 18
    assert batch["said"].tolist() == writer.encode("which day") + writer.encode("which shop")


def test_a_batch_that_is_used_again_has_the_same_answers_and_other_pixels() -> None:
    writer, example = _conversation()
    batch = collate([example], writer.control("<|audio|>"))
    other = again(batch, torch.Generator().manual_seed(1))
    assert torch.equal(other["ids"], batch["ids"])
    difference = (other["patches"].float() - batch["patches"].float()).abs().max()
    assert 0 < difference < 1.5
    assert not torch.equal(other["frames"], batch["frames"])


def _conversation() -> tuple[Writer, Example]:
    writer = Writer(TINY / "tokenizer.json")
    pixels = np.random.default_rng(0).integers(0, 255, (96, 144, 1), np.uint8).repeat(3, 2)
    canvas = Pillow.fromarray(pixels)
    sound = 0.3 * np.sin(np.arange(8000) / 11).astype(np.float32)
    exchanges = [
        Exchange("4", "how many items?", Drawing(canvas, ())),
        Exchange("2031-02-03", sound=sound, said="which day"),
    ]
    assert len(patches(canvas, 70).patches) > 1
    return writer, writer.write(exchanges)
