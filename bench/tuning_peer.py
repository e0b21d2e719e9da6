"""mlx-vlm's own trainer, `train_vlm`, in a thread: it waits for each step's conversations."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import side_peer
from items import read
from mlx.utils import tree_flatten
from mlx_vlm.trainer import VLMTrainingArgs, get_peft_model
from mlx_vlm.trainer.common.callbacks import TrainingCallback
from mlx_vlm.trainer.vlm.sft.runtime import collate_vlm_batch, train_vlm


class Side(side_peer.Side):
    """A model that is trained."""

    def start(
        self, file: str, rank: int, scale: float, steps: int, checkpoints: bool, batch: int
    ) -> dict[str, int]:
        """Put the same adapter on the model, and start the trainer.

        Args:
            batch: conversations that go through together, of those with the same kinds of media.
        """
        get_peft_model(self.model, rank=rank, alpha=rank * scale, dropout=0.0, verbose=False)
        first = mx.load(str(Path(file).parent / "first.safetensors"))
        names = {name for name, _ in tree_flatten(self.model.trainable_parameters())}
        if names != set(first):
            raise ValueError(f"other matrices have adapters: {sorted(names ^ set(first))[:3]}")
        self.model.load_weights(list(first.items()), strict=False)
        mx.eval(self.model.parameters())  # what is not computed yet belongs to its thread
        self.file, self.batch = file, batch
        self.todo: Queue[tuple[list[int], float]] = Queue()
        self.done: Queue[Any] = Queue()
        self.out = Path(file).parent / "peer"
        self.out.mkdir(exist_ok=True)
        micro = steps * (8 // batch)
        arguments = VLMTrainingArgs(
            batch_size=1,
            iters=micro,
            gradient_accumulation_steps=8 // batch,
            steps_per_report=8 // batch,
            steps_per_save=10**6,
            steps_per_eval=None,
            grad_checkpoint=checkpoints,
            train_on_completions=True,
            adapter_file=str(self.out / "adapters.safetensors"),
            pad_to_multiple=1,
        )
        self.left = steps
        self.thread = threading.Thread(target=self._run, args=(arguments,), daemon=True)
        self.thread.start()
        return {"numbers": sum(value.size for value in first.values())}

    def train(self, numbers: list[int], rate: float) -> float:
        """Learn from these conversations in one step; the loss a token."""
        self.todo.put((numbers, rate))
        result = self.done.get()
        if isinstance(result, BaseException):
            raise result
        self.left -= 1
        if not self.left:
            self.thread.join()  # it saves what it has trained
        return float(result["train_loss"])

    def _run(self, arguments: VLMTrainingArgs) -> None:
        self.optimizer = optim.Adam(1e-3)  # arrays that are not evaluated belong to their thread
        try:
            train_vlm(
                self.model,
                self.optimizer,
                [None],
                None,
                arguments,
                iterate_batches=self._batches,
                training_callback=_Report(self.done),
                seed=0,
            )
        except BaseException as error:
            self.done.put(error)
            raise

    def _batches(self, *_: object, **__: object) -> Iterator[dict[str, Any]]:
        while True:
            numbers, self.optimizer.learning_rate = self.todo.get()
            samples = [self._sample(number) for number in numbers]
            if self.batch == 1:
                groups = [[sample] for sample in samples]
            else:  # only the same media go together; as many groups as a step has microsteps
                silent = [one for one in samples if "input_features" not in one]
                spoken = [one for one in samples if "input_features" in one]
                groups = [silent, spoken] if silent and spoken else [samples[:4], samples[4:]]
            for group in groups:
                yield collate_vlm_batch(group, 2048, pad_to_multiple=1)

    def _sample(self, number: int) -> dict[str, Any]:
        item = read(Path(self.file))[number]
        inputs = self._processed(item)
        inputs.pop("mm_token_type_ids")  # its trainer's forward does not take them
        ids = inputs["input_ids"][0]
        learned = np.arange(len(ids)) >= item.earlier
        masks = {
            "attention_mask": mx.ones(len(ids), mx.int32),
            "completion_mask": mx.array(learned),
        }
        return inputs | masks | {"input_ids": ids}


class _Report(TrainingCallback):
    """Hands on what the trainer reports of a step."""

    def __init__(self, done: "Queue[Any]") -> None:
        self.done = done

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.done.put(json.loads(json.dumps({"train_loss": train_info["train_loss"]})))
