"""A model of ours as the subject of a question: loaded when it is first asked, greedy."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from .. import catalog, load
from ..events import Token
from ..hub import cache as hub_cache
from ..model import Gemma4
from ..prompt.tokenizer import Tokenizer
from ..session.session import Session
from . import surroundings
from .question import Asked

_BEGINNING = 2**20  # bytes of each file of weights that tell one revision from another


class Model:
    """A model, asked through `Session` as anybody would.

    Args:
        name: a folder, a name of Package.toml, or `owner/name` on the Hub.
        force: load it even if it does not fit into the memory.

    Raises:
        Gemma4Error: it is not on this machine.
    """

    def __init__(self, name: str, force: bool = False) -> None:
        self.folder = catalog.resolve(name)
        self.name = name
        self.package = catalog.package_of(self.folder)
        self.recipe = _recipe(self.folder)
        self.revision = revision(self.folder)
        self.versions: Mapping[str, str] = surroundings.versions()
        self._force = force
        self._model: Gemma4 | None = None
        self._tokenizer: Tokenizer | None = None

    @property
    def is_tiny(self) -> bool:
        """Whether it is the demonstration model, which knows a small world only."""
        names = (catalog.DEMONSTRATION, f"{catalog.DEMONSTRATION}-4bit")
        return self.package is not None and self.package.name in names

    @property
    def takes(self) -> frozenset[str]:
        """What it understands."""
        config = self.model.config
        seen, heard = config.vision_config is not None, config.audio_config is not None
        return frozenset({"text", *(["image"] * seen), *(["sound"] * heard)})

    @property
    def model(self) -> Gemma4:
        """The model itself."""
        if self._model is None:
            self._model = load(self.folder, force=self._force)
        return self._model

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, read once."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_folder(self.folder)
        return self._tokenizer

    def session(self, asked: Asked) -> Session:
        """Begin a conversation, with everything added that is asked."""
        session = Session(
            self.model, asked.before or None, asked.image_tokens, tokenizer=self.tokenizer
        )
        for image in asked.images:
            session.add_image(image)
        if asked.text:
            session.add_text(asked.text)
        for samples in asked.sounds:
            session.add_audio(samples, 16_000, long="split")
        return session

    def answer(self, asked: Asked) -> str:
        """Answer: the likeliest token each time."""
        reply = self.session(asked).reply(asked.most, temperature=0.0)
        return "".join(event.text for event in reply if isinstance(event, Token)).strip()

    def close(self) -> None:
        """Free the model."""
        self._model = None


def revision(folder: Path) -> str:
    """Tell the weights of a folder: the Hub's commit, or twelve digits of a digest of them."""
    if folder.parent.name == "snapshots" and hub_cache.repo_of(folder.parent.parent):
        return folder.name[:12]
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_BEGINNING))
    return digest.hexdigest()[:12]


def _recipe(folder: Path) -> str:
    """How the weights are stored: the recipe of their conversion, or their bits."""
    record = folder / catalog.RECORD
    if record.is_file():
        return str(json.loads(record.read_text("utf-8")).get("recipe", "as it is"))
    quantized = json.loads((folder / "config.json").read_text("utf-8")).get("quantization")
    return f"{quantized['bits']}bit" if quantized else "as it is"
