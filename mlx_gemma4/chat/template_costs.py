"""What a chat template takes, in steps: of the loops it turns and the text it makes.

Counted, so that the bound is the same on any machine. Lists are cheap to make, for they may hold
one text many times: its text costs where they are written or compared.
"""

import re
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextvars import ContextVar
from itertools import chain
from typing import Any

from .. import limits

CHARACTERS = 64  # that cost a step
_NUMBER = 10_000  # the largest that a filter or method may be given: widths, counts
_WIDE = re.compile(r"\d{5,}|\*")  # of a format: %99999d
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # where `splitlines` cuts, and `indent`

steps_left: ContextVar[list[int]] = ContextVar("steps that a template may still take")


def spend(steps: int) -> None:
    """Take steps off those that are left. Raises ValueError where there are none."""
    left = steps_left.get()
    left[0] -= steps
    if left[0] < 0:
        raise ValueError("it takes too many steps, or makes too much text")


def need_short(length: int) -> None:
    """Raise ValueError where a text would have too many characters."""
    if length > limits.TEMPLATE_CHARACTERS:
        raise ValueError(f"it makes more than {limits.TEMPLATE_CHARACTERS:,} characters")


def paid(value: Any) -> Any:
    """Count what was made; return it."""
    if isinstance(value, str | bytes):
        need_short(len(value))
        spend(1 + len(value) // CHARACTERS)
    elif isinstance(value, list | tuple | dict):
        spend(1 + len(value))
        # what is inside may be one list many times over, which is endless when it is written
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, list | tuple | dict):
                paid(inner)
    elif isinstance(value, int) and value.bit_length() > 256:
        raise ValueError("it makes too large a number")
    else:
        spend(1)
    return value


def written(value: Any) -> int:
    """Count a value as text, however deep that is in lists; return its characters, about."""
    length = 0
    inside: Iterator[Any] = iter(())
    if isinstance(value, Mapping):
        inside = chain(value, value.values())
    elif isinstance(value, list | tuple | set | KeysView | ValuesView | ItemsView):
        inside = iter(value)
    elif type(value).__name__ == "Namespace":  # jinja2's, which shows what it holds
        inside = iter(value._Namespace__attrs.values())
    else:
        length = len(value if isinstance(value, str) else str(value))
    spend(1 + length // CHARACTERS)
    for inner in inside:
        length += 2 + written(inner)
    need_short(length)
    return length


def compared(value: Any) -> Any:
    """Count what is compared, or is a key; return it."""
    if not isinstance(value, str) or len(value) >= CHARACTERS:  # a short one costs next to nothing
        written(value)
    return value


def measured(items: Any, between: int = 0) -> Iterator[Any]:
    """Yield what will be joined, counted, with so many characters between each two."""
    length = 0
    for item in items:
        length += between + written(item)
        spend(between // CHARACTERS)
        need_short(length)
        yield item


def check_format(text: str, values: Any) -> None:
    """Refuse a `%` that would make too much."""
    if _WIDE.search(text):
        raise ValueError("a format is too wide")
    longest = max(map(written, values if isinstance(values, tuple) else (values,)), default=0)
    width = max(map(int, re.findall(r"\d+", text)), default=0)
    need_short(len(text) + text.count("%") * (longest + width))


def check(name: str, arguments: Iterable[Any], subject: Any = None) -> None:
    """Refuse, before it is done, what would make far more than it is given, or take far longer."""
    given = list(arguments)
    if any(isinstance(a, int) and not isinstance(a, bool) and abs(a) > _NUMBER for a in given):
        raise ValueError(f"{name} is given too large a number")
    if not isinstance(subject, str):
        return
    texts = [a for a in given if isinstance(a, str)]
    longest = max(map(len, texts), default=0)
    if name == "replace" and len(texts) > 1:
        need_short(len(subject) + subject.count(texts[0]) * len(texts[1]))
    elif name in ("split", "rsplit", "splitlines"):
        spend(subject.count(texts[0]) if texts and texts[0] else _count(subject, _BREAKS + " \t"))
    elif name in ("strip", "lstrip", "rstrip", "trim"):
        spend(len(subject) * longest // CHARACTERS**2)
    elif name == "indent":
        width = max((a for a in given if isinstance(a, int)), default=4)
        need_short(len(subject) + max(width, longest) * (1 + _count(subject, _BREAKS)))
    elif name in ("wordwrap", "urlize"):
        need_short(len(subject) * (1 + sum(map(len, texts))))


def _count(text: str, characters: str) -> int:
    return sum(map(text.count, characters))


def counted(items: Any) -> Iterator[Any]:
    """Yield what a loop goes through, a step each."""
    for item in items:
        spend(1)
        yield item
