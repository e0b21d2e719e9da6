"""Places in a prompt to which a cache may go back. Knows nothing of MLX."""

from collections.abc import Sequence

from ..chat.tokenizer import Tokenizer


def opening_of(
    ids: Sequence[int], tokenizer: Tokenizer, continues: bool
) -> tuple[int, tuple[int, ...]]:
    """The row at which the last turn starts, and the ids after its header (an empty thought).

    Args:
        continues: the reply follows a tool's result, where there is no new turn.
    """
    header = tokenizer.encode("<|turn>model\n", special=True)
    start = len(ids) - 1 - [*reversed(ids)].index(header[0])
    if continues or [*ids[start : start + len(header)]] != header:
        return start, ()
    return start, tuple(ids[start + len(header) :])


def checkpoint_of(ids: Sequence[int], tokenizer: Tokenizer) -> int:
    """The row after the system's turn, which other conversations may share; 0 without one."""
    header = tokenizer.encode("<|turn>system\n", special=True)
    start = ids.index(header[0])
    if [*ids[start : start + len(header)]] != header:
        return 0
    return ids.index(header[0], start + 1)
