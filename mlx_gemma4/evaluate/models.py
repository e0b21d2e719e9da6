"""A model of ours as the subject of a question: loaded when it is first asked, greedy."""

import gc
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_unflatten

from .. import Hosts, exchange_adapter, load
from ..chat.tokenizer import Tokenizer
from ..checkpoint import adapters
from ..checkpoint.quantize import quantize
from ..checkpoint.recipes import named
from ..errors import Gemma4Error
from ..events import Heard, Token
from ..generation.drafting import Draft
from ..hub import catalog, installed_adapters
from ..json_reader import read_object
from ..model.config import load_config
from ..model.gemma4 import Gemma4
from ..session.session import Session
from . import surroundings
from .question import Asked, Subject


class OurModel:
    """A model, asked through `Session` as anybody would.

    Args:
        name: a folder, a name of Package.toml, `owner/name` on the Hub, or MODEL:ADAPTER.
        force: load it even if it does not fit into the memory.
        recipe: of `recipes.RECIPES`, to quantize its weights in memory; None for none.
        hosts: other computers that hold a part of its layers; `progress` is called as they get it.

    Raises:
        Gemma4Error: it is not on this machine, or there is no such recipe.
    """

    def __init__(
        self, name: str, force: bool = False, recipe: str | None = None, hosts: Hosts | None = None
    ) -> None:
        self.folder = catalog.resolve(name)
        self.name = name
        self.package = catalog.package_of(self.folder)
        self.recipe = recipe or _recipe(self.folder)
        self.revision = surroundings.revision(self.folder)
        if adapter := installed_adapters.split(name)[1]:
            self.revision += f"+{adapters.read(installed_adapters.find(adapter)).digest}"
        self.versions: Mapping[str, str] = surroundings.versions()
        self.force = force
        self.progress: Callable[[str, int, int], object] = lambda host, done, total: None
        self._hosts = hosts
        self._quantized = None if recipe is None else named(recipe)

    @property
    def is_tiny(self) -> bool:
        """Whether it is the demonstration model, which knows a small world only."""
        names = (catalog.DEMONSTRATION, f"{catalog.DEMONSTRATION}-4bit")
        return self.package is not None and self.package.name in names

    @property
    def takes(self) -> frozenset[str]:
        config = load_config(self.folder)
        seen, heard = config.vision_config is not None, config.audio_config is not None
        return frozenset({"text", *(["image"] * seen), *(["sound"] * heard)})

    @cached_property
    def model(self) -> Gemma4:
        # what a recipe quantizes gets its adapter afterwards: that is not quantized
        named = self.name if self._quantized is None else self.folder
        model = load(named, force=self.force, hosts=self._hosts, progress=self.progress)
        if self._quantized is not None:
            quantize(model, self._quantized)
            if mx.default_device() == mx.cpu:
                spread(model)
            exchange_adapter(model, self.name)
        return model

    @property
    def is_loaded(self) -> bool:
        return "model" in vars(self)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_folder(self.folder)

    def session(self, asked: Asked, draft: Draft = "off") -> Session:
        session = Session(
            self.model,
            asked.before or None,
            image_tokens=asked.image_tokens,
            hearing=asked.hearing,
            tokenizer=self.tokenizer,
            draft=draft,
        )
        self.add(session, asked)
        return session

    def add(self, session: Session, asked: Asked) -> None:
        for image in asked.images:
            session.add_image(image)
        if asked.text:
            session.add_text(asked.text)
        for samples in asked.sounds:
            session.add_audio(samples, 16_000, long="split")

    def answer(self, asked: Asked) -> str:
        """Answer with the likeliest token each time."""
        reply = self.session(asked).reply(asked.most, temperature=0.0)
        return "".join(event.text for event in reply if isinstance(event, Token)).strip()

    def heard(self, asked: Asked) -> str:
        """What the relay transcribes of the sounds; `asked.hearing` is "relay"."""
        reply = self.session(asked).reply(temperature=0.0)
        return next(event.text for event in reply if isinstance(event, Heard)).strip()

    def close(self) -> None:
        """Free the model, and what MLX keeps of its memory."""
        vars(self).pop("model", None)
        gc.collect()  # modules refer to each other
        mx.clear_cache()


def ours(subject: Subject) -> OurModel:
    """Return a subject as a model of ours, in questions that rivals are never asked."""
    assert isinstance(subject, OurModel), f"{subject.name} is a rival"
    return subject


def quantized_already(model: OurModel) -> Gemma4Error:
    """The error of recipes for a model that has one."""
    return Gemma4Error(
        "already_quantized",
        "The model is quantized already",
        f"{model.name} is stored as {model.recipe}, and recipes are for unquantized ones.",
        "Leave --recipes out, or name the unquantized model first.",
    )


def _recipe(folder: Path) -> str:
    """How the weights are stored: the recipe of their conversion, or their bits."""
    if recipe := (read_object(folder / catalog.RECORD) or {}).get("recipe"):
        return str(recipe)
    quantized = load_config(folder).quantization
    return f"{quantized['bits']}bit" if quantized else "as it is"


def spread(model: Gemma4) -> None:
    """Replace every quantized module, in place, by the float32 one it represents.

    MLX's CPU backend multiplies those forty times as fast, for four times the memory; logits agree
    to 1e-4.
    """
    dense = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
            continue
        weight = mx.dequantize(
            module["weight"],
            module["scales"],
            module.get("biases"),
            group_size=module.group_size,
            bits=module.bits,
            mode=module.mode,
            dtype=mx.float32,
        )
        rows, columns = weight.shape
        embeds = isinstance(module, nn.QuantizedEmbedding)
        new = nn.Embedding(rows, columns) if embeds else nn.Linear(columns, rows, bias=False)
        # Stored by columns: that is the order in which the CPU multiplies fast.
        new.weight = weight if embeds else mx.contiguous(weight.T).T
        dense.append((name, new))
    model.update_modules(tree_unflatten(dense))
