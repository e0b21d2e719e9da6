"""Text to ids and back, over the `tokenizers` package.

Two promises. Text never becomes a control token: `encode` treats `<|turn>` in a question as six
ordinary characters; control tokens are placed by id, by name. And text never comes out in half
characters: `TextStream` holds the bytes of an unfinished one back.
"""

import codecs
import re
from array import array
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from .. import limits
from ..errors import Gemma4Error
from ..json_reader import read_bytes, read_object, short, unusable

CONTROLS = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>",
    "<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>",
    "<|think|>", "<|channel>", "<channel|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
    "<|tool_response>", "<tool_response|>", '<|"|>',
)  # fmt: skip
"""Gemma 4's control tokens (ai.google.dev, "Gemma 4 Prompt Formatting"; tokenizer_config.json)."""

_REQUIRED = ("<bos>", "<|turn>", "<turn|>")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class Tokenizer:
    """A Gemma 4 tokenizer.

    Attributes:
        template: the checkpoint's own chat template (jinja source), or None.
        controls: control token's name -> id, for those this vocabulary has.
    """

    def __init__(self, backend: Backend, template: str | None = None) -> None:
        """Take a backend over, which then encodes control spellings as plain text for good.

        Raises Gemma4Error where it has no Gemma 4 turn tokens.
        """
        missing = [name for name in _REQUIRED if backend.token_to_id(name) is None]
        if missing:
            gemma3 = backend.token_to_id("<start_of_turn>") is not None
            other = " It has Gemma 3's <start_of_turn>." if gemma3 else ""
            raise Gemma4Error(
                "tokenizer_foreign",
                "This is not a Gemma 4 tokenizer",
                f"It has no token {', '.join(missing)}.{other}",
                "Use the tokenizer.json that belongs to the Gemma 4 checkpoint.",
            )
        # Some exports list a control token as an ordinary added token, which would still be
        # recognised inside text: marked special, `encode_special_tokens` covers it.
        known = [name for name in CONTROLS if backend.token_to_id(name) is not None]
        backend.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in known])
        backend.encode_special_tokens = True
        self._backend = backend
        # A conversation is written out again at every step, and most of it has not changed
        self._encode = lru_cache(maxsize=1024)(self._encode_plain)
        self.template = template
        added = backend.get_added_tokens_decoder()
        self.controls: Mapping[str, int] = {
            token.content: token_id for token_id, token in added.items() if token.special
        }

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """Read tokenizer.json and, where there is one, the chat template beside it.

        Raises:
            Gemma4Error: if tokenizer.json is missing, damaged or not Gemma 4's.
        """
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise Gemma4Error(
                "tokenizer_missing",
                "The tokenizer is missing",
                f"There is no file {path}.",
                "Copy tokenizer.json from the original checkpoint into the folder.",
            )
        try:
            if path.stat().st_size > limits.TOKENIZER_BYTES:
                raise ValueError(f"it has more than {limits.TOKENIZER_BYTES:,} bytes")
            backend = Backend.from_file(str(path))
        except Exception as error:  # the package raises bare Exception for every damaged file
            raise Gemma4Error(
                "tokenizer_unreadable",
                "The tokenizer cannot be read",
                f"{path} is damaged ({error}).",
                "Copy tokenizer.json from the original checkpoint again.",
            ) from error
        return cls(backend, _chat_template(Path(folder)))

    @property
    def vocab_size(self) -> int:
        """Number of tokens, control tokens included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def token_id(self, name: str) -> int:
        """Return the id of a token by its exact name. Raises Gemma4Error where it has none."""
        token_id = self._backend.token_to_id(name)
        if token_id is None:
            raise Gemma4Error(
                "tokenizer_foreign",
                f"The tokenizer has no token {name}",
                "This checkpoint's vocabulary was made without it.",
                "Use the tokenizer.json of the original checkpoint, or leave out what needs it.",
            )
        return int(token_id)

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Return the ids of a text; no <bos> is added.

        Args:
            special: read control tokens' spellings as control tokens. Only for text that this
                program wrote itself, never for a user's.
        """
        if not special:
            return list(self._encode(text))
        ids: list[int] = []
        for index, piece in enumerate(self.split(text)):
            ids += [self.token_id(piece)] if index % 2 else self.encode(piece)
        return ids

    def split(self, text: str) -> list[str]:
        """Split at control spellings: plain, control, plain, ..., plain (plain may be empty)."""
        return self._control_pattern.split(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; control tokens have none."""
        stream = TextStream(self)
        return "".join([*map(stream.add, ids), stream.finish()])

    def token_bytes(self, token_id: int) -> bytes:
        """Return the UTF-8 bytes of a token's text; none for a control or unknown id."""
        name = self._backend.id_to_token(token_id)
        if name is None or name in self.controls:
            return b""
        if byte := _BYTE_TOKEN.fullmatch(name):
            return bytes([int(byte[1], 16)])
        return name.replace("▁", " ").encode()  # the normalizer wrote spaces as U+2581

    def spelling(self, token_id: int) -> bytes:
        """As `token_bytes`, but the name of a control token."""
        return self.token_bytes(token_id) or (self._backend.id_to_token(token_id) or "").encode()

    def _encode_plain(self, text: str) -> "array[int]":
        text = text.encode(errors="replace").decode()  # lone surrogates have no UTF-8
        # four bytes an id: many long texts are held
        return array("I", self._backend.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        names = sorted({*CONTROLS, *self.controls}, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, names))})")


class TextStream:
    """Decodes a reply while it comes; `add` may return nothing until a character is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token_id: int) -> str:
        """Take the next id; return the text that is whole now."""
        return self._utf8.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """End the stream: bytes that never became a character come as U+FFFD."""
        return self._utf8.decode(b"", final=True)


def _chat_template(folder: Path) -> str | None:
    """Find the template where transformers puts it: a file of its own, or in the config."""
    file = folder / "chat_template.jinja"
    try:
        if file.exists():
            return read_bytes(file, limits.TEMPLATE_BYTES).decode("utf-8")
        for name in ("chat_template.json", "tokenizer_config.json"):
            file = folder / name
            template = (read_object(file) or {}).get("chat_template")
            if isinstance(template, list):  # several, each {"name": ..., "template": ...}
                named = [entry for entry in template if isinstance(entry, dict)]
                template = next(
                    (entry.get("template") for entry in named if entry.get("name") == "default"),
                    None,
                )
            if template is not None and not isinstance(template, str):
                raise unusable(f"chat_template in {file} is {short(template)}, not a text.")
            if template:
                return str(template)
    except (OSError, UnicodeDecodeError, Gemma4Error) as error:
        cause = error.cause if isinstance(error, Gemma4Error) else f"{file}: {error}."
        raise Gemma4Error(
            "template_unreadable",
            "The chat template cannot be read",
            cause,
            "Copy the file from the original checkpoint again.",
        ) from error
    return None
