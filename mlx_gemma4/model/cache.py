"""KV caches: rows in order in buffers with room at the end; mark and rewind.

A cache has one `offset` for all its layers, and writing always happens there. To go back is to set
a smaller one, as long as the rows that the next token sees are still held:
 - a full layer holds every row;
 - a sliding layer keeps the last window + slack rows when its buffer is full, in order (no ring),
   so that dropping up to `slack` of the most rows that were held is free.
A `Mark` leads further back: it holds the buffers of its time, at no cost until the cache has moved
on to others. Buffers are shared and written in place, but rows that a live mark needs are never
overwritten: then the next write goes to a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakSet

import mlx.core as mx

from ..errors import Gemma4Error
from ..limits import STEP
from .attention import Dense, Quantized


class Rows:
    """Buffers (1, kv heads, capacity, dims) for the rows from position `start` on."""

    def __init__(self, start: int = 0, arrays: tuple[mx.array, ...] = ()) -> None:
        self.start = start
        self.arrays = arrays
        self.marks: WeakSet[Mark] = WeakSet()

    def fits(self, stop: int) -> bool:
        """Whether there is room for the rows up to position `stop`."""
        return bool(self.arrays) and stop - self.start <= self.arrays[0].shape[2]

    def moved(self, start: int, offset: int, new: tuple[mx.array, ...]) -> Rows:
        """Other buffers, with the rows from `start` to `offset` and room for the `new` ones."""
        kept = offset - start
        capacity = -(-(kept + new[0].shape[2]) // STEP) * STEP
        arrays = []
        for n, rows in enumerate(new):
            array = mx.zeros((1, rows.shape[1], capacity, rows.shape[3]), rows.dtype)
            if kept:
                array[:, :, :kept] = self.view(start, offset)[n]
            arrays.append(array)
        return Rows(start, tuple(arrays))

    def write(self, offset: int, new: tuple[mx.array, ...]) -> None:
        at = offset - self.start
        for array, rows in zip(self.arrays, new, strict=True):
            array[:, :, at : at + rows.shape[2]] = rows

    def shrink(self, window: int) -> None:
        """Hold what marks need of these rows, which the cache has moved on from, and no more."""
        if places := [mark.offset for mark in self.marks]:
            start = max(self.start, min(places) - window)
            self.arrays = tuple(map(mx.contiguous, self.view(start, max(places))))
            self.start = start
            mx.async_eval(self.arrays)

    def trim(self, stop: int) -> None:
        """Free the room behind position `stop` where it is half of the buffers or more."""
        room = -(-(stop - self.start) // STEP) * STEP
        if self.arrays and 2 * room <= self.arrays[0].shape[2]:
            self.arrays = self.moved(self.start, stop, self.view(stop, stop)).arrays
            mx.async_eval(self.arrays)

    def view(self, start: int, stop: int) -> tuple[mx.array, ...]:
        """The rows at positions `start` to `stop`."""
        return tuple(a[:, :, start - self.start : stop - self.start] for a in self.arrays)


class SlidingCache:
    """Keys and values of a sliding layer: at least the last `window` + `slack` rows."""

    def __init__(self, window: int, slack: int) -> None:
        self.window = window
        self.slack = slack
        self.rows = Rows()

    def update(self, offset: int, keys: mx.array, values: mx.array) -> Dense:
        """Write (1, kv heads, L, D) at `offset`; return the rows that the new ones may see."""
        new, stop = (keys, values), offset + keys.shape[2]
        if not self.rows.fits(stop):
            old, start = self.rows, max(self.rows.start, offset - self.window - self.slack)
            self.rows = old.moved(start, offset, new)
            old.shrink(self.window)
        self.rows.write(offset, new)
        return Dense(*self.rows.view(max(0, offset - self.window + 1), stop))

    def seen(self, offset: int, more: int = 0) -> Dense:
        """What the last of `offset` rows sees: `window` rows, and `more` where they are held."""
        start = max(self.rows.start, offset - self.window - more)
        return Dense(*self.rows.view(start, offset))


class GlobalCache:
    """Rows of a full layer: the key is the first `head_dim` dims, the value the last.

    Args:
        head_dim: dims of a key, and of a value.
        width: dims of a row, in which key and value may overlap.
        bits: 8 or 4 to quantize the rows, or None.
    """

    def __init__(self, head_dim: int, width: int, bits: int | None) -> None:
        self.head_dim = head_dim
        self.width = width
        self.bits = bits
        self.group_size = 64 if width % 64 == 0 else 32
        self.rows = Rows()
        if bits is not None and width % self.group_size:
            raise Gemma4Error(
                "kv_bits_unsupported",
                "The cache cannot be quantized",
                f"Its rows are {width} numbers wide, and 32 or 64 of them share a scale.",
                "Leave kv_bits out.",
            )

    def update(self, offset: int, rows: mx.array) -> Dense | Quantized:
        """Write (1, kv heads, L, width) at `offset`; return all rows."""
        stop = offset + rows.shape[2]
        new: tuple[mx.array, ...] = (rows,)
        if self.bits is not None:
            new = mx.quantize(rows, group_size=self.group_size, bits=self.bits)
        if not self.rows.fits(stop):  # in place: marks of it, none of which is ahead, move along
            self.rows.arrays = self.rows.moved(0, offset, new).arrays
        self.rows.write(offset, new)
        return self.seen(stop)

    def seen(self, offset: int, more: int = 0) -> Dense | Quantized:
        """The first `offset` rows, which are all: `more` changes nothing."""
        held = self.rows.view(0, offset)
        if self.bits is not None:
            packed = (held[0], held[1], held[2])
            return Quantized(packed, self.group_size, self.bits, self.width, self.head_dim)
        return Dense(held[0][..., : self.head_dim], held[0][..., -self.head_dim :])


@dataclass(frozen=True, eq=False)
class Mark:
    """A place to go back to: `offset` rows, in the buffers of that time."""

    offset: int
    buffers: tuple[Rows, ...]


class Cache:
    """One cache a layer, and `offset`: the rows (one a token) held so far."""

    def __init__(self, layers: list[SlidingCache | GlobalCache]) -> None:
        self.layers = layers
        self.offset = 0
        self._marks: WeakSet[Mark] = WeakSet()

    @property
    def arrays(self) -> list[mx.array]:
        """Every buffer. Evaluating them runs all that was fed so far."""
        return [array for layer in self.layers for array in layer.rows.arrays]

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers, with their free room."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def quantized(self) -> bool:
        """Whether full layers hold quantized rows."""
        return any(isinstance(layer, GlobalCache) and layer.bits for layer in self.layers)

    @property
    def earliest(self) -> int:
        """The smallest offset that `rewind_to` can go to."""
        sliding = [layer for layer in self.layers if isinstance(layer, SlidingCache)]
        return max((c.rows.start + c.window - 1 for c in sliding if c.rows.start), default=0)

    def seen(self, layer: int, more: int = 0) -> Dense | Quantized:
        """What the last row sees in a layer, and `more` rows where a sliding one holds them."""
        return self.layers[layer].seen(self.offset, more)

    def tensors(self) -> dict[str, mx.array]:
        """What must be kept to hold these rows elsewhere: the tensors that `fill` takes."""
        result = {}
        for number, layer in enumerate(self.layers):
            start = layer.rows.start
            if isinstance(layer, SlidingCache):
                start = max(start, self.offset - layer.window - layer.slack)
            for name, rows in enumerate(layer.rows.view(start, self.offset)):
                result[f"{number}.{name}"] = rows
        return result

    def fill(self, offset: int, tensors: Mapping[str, mx.array]) -> None:
        """Hold the `offset` rows of another cache of the same model, from its `tensors`.

        Raises:
            Gemma4Error: a layer's tensors are missing, or too short.
        """
        held = []
        for number, layer in enumerate(self.layers):
            names = sorted(name for name in tensors if name.startswith(f"{number}."))
            arrays = tuple(tensors[name] for name in names)
            counts = {array.shape[2] for array in arrays}
            needed = offset
            if isinstance(layer, SlidingCache):
                needed = min(offset, layer.window - 1)
            if len(counts) != 1 or not needed <= max(counts) <= offset:
                raise Gemma4Error(
                    "cache_mismatch",
                    "The cache cannot be filled",
                    f"Layer {number} has rows of lengths {sorted(counts)} for {offset} tokens.",
                    "Feed the conversation again.",
                )
            held.append(Rows(offset - max(counts), arrays))
        for layer, rows in zip(self.layers, held, strict=True):
            layer.rows = rows
        self._go_to(offset)

    def mark(self) -> Mark:
        """Remember this place, for as long as the mark is kept."""
        return self._remembered(Mark(self.offset, tuple(layer.rows for layer in self.layers)))

    def adopt(self, mark: Mark) -> Mark:
        """A mark of this cache at the place of another's: the next write there goes to a copy."""
        buffers = tuple(Rows(r.start, r.view(r.start, mark.offset)) for r in mark.buffers)
        return self._remembered(Mark(mark.offset, buffers))

    def _remembered(self, mark: Mark) -> Mark:
        self._marks.add(mark)
        for rows in mark.buffers:
            rows.marks.add(mark)
        return mark

    def rewind(self, mark: Mark) -> None:
        """Go to a mark of this cache, behind or ahead, however far.

        Raises:
            Gemma4Error: the mark is another cache's.
        """
        if mark not in self._marks:
            raise _impossible("The mark is another cache's.", "Use one of its own.")
        for layer, rows in zip(self.layers, mark.buffers, strict=True):
            layer.rows = rows
        self._go_to(mark.offset)
        for layer, rows in zip(self.layers, mark.buffers, strict=True):
            if layer.rows is rows:  # no mark ahead needs what was written since
                rows.trim(mark.offset)

    def rewind_to(self, offset: int) -> None:
        """Drop the rows from `offset` on, at no cost.

        Raises:
            Gemma4Error: `offset` is before `earliest`, or after what is held.
        """
        if not self.earliest <= offset <= self.offset:
            reach = f"It holds {self.offset} rows and reaches back to row {self.earliest}, "
            remedy = "Rewind to a mark, or feed the conversation again."
            raise _impossible(f"{reach}not to row {offset}.", remedy)
        self._go_to(offset)

    def _go_to(self, offset: int) -> None:
        self.offset = offset
        ahead = {id(rows) for m in self._marks if m.offset > offset for rows in m.buffers}
        for layer in self.layers:
            if id(rows := layer.rows) in ahead:  # no room there: the next write goes to others
                layer.rows = Rows(rows.start, rows.view(rows.start, offset))


def _impossible(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("rewind_impossible", "The cache cannot be rewound", cause, remedy)
