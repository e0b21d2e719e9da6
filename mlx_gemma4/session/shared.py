"""What sessions with one model know together, so that a client may come back to any of them."""

from dataclasses import dataclass
from pathlib import Path

from ..chat.tokenizer import Tokenizer
from ..errors import Gemma4Error
from ..model.gemma4 import Gemma4
from .reply import DrawnReplies


@dataclass(frozen=True, eq=False)
class Shared:
    """Shared by the sessions of one thread.

    Attributes:
        tokenizer: with the texts that it has encoded.
        drawn: the ids of replies.
    """

    tokenizer: Tokenizer
    drawn: DrawnReplies

    @classmethod
    def of(cls, model: Gemma4, tokenizer: Tokenizer | None = None) -> "Shared":
        """Nothing is known yet; without a tokenizer it is that of the model's folder.

        Raises:
            Gemma4Error: there is none.
        """
        folder: Path | None = getattr(model, "folder", None)
        if tokenizer is not None:
            return cls(tokenizer, DrawnReplies(tokenizer, model.config))
        if folder is None:
            raise Gemma4Error(
                "tokenizer_missing",
                "There is no tokenizer",
                "The model was not read from a folder.",
                "Pass a tokenizer to the session.",
            )
        return cls.of(model, Tokenizer.from_folder(folder))
