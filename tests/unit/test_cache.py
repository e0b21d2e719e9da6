"""Rows stay in order however they come, and going back finds what was there."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.model import cache as kv
from mlx_gemma4.model.cache import Cache, GlobalCache, SlidingCache
from mlx_gemma4.testing.doubles import tiny_model

WINDOW, SLACK = 7, 5


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv, "STEP", 4)


class Numbers:
    """A cache of one sliding and one full layer whose rows are numbers, beside a list of them."""

    def __init__(self) -> None:
        self.cache = Cache([SlidingCache(WINDOW, SLACK), GlobalCache(2, 3, None)])
        self.held: list[float] = []
        self.next = 0.0

    def feed(self, count: int) -> None:
        """Feed `count` new numbers and look at all that both layers show for them."""
        new = [self.next + n for n in range(count)]
        self.next += count
        rows = mx.broadcast_to(mx.array(new)[None, None, :, None], (1, 1, count, 3))
        sliding, full = self.cache.layers
        assert isinstance(sliding, SlidingCache) and isinstance(full, GlobalCache)
        seen = sliding.update(self.cache.offset, rows[..., :2], -rows[..., :2])
        everything = full.update(self.cache.offset, rows)
        start = max(0, len(self.held) - WINDOW + 1)
        self.held += new
        self.cache.offset += count
        assert seen.keys[0, 0, :, 0].tolist() == self.held[start:]
        assert seen.values[0, 0, :, 1].tolist() == [-x for x in self.held[start:]]
        assert everything.keys[0, 0, :, 0].tolist() == self.held
        assert everything.values[0, 0, :, 1].tolist() == self.held


@given(st.lists(st.integers(1, 11), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_rows_stay_in_order_through_full_buffers(counts: list[int]) -> None:
    numbers = Numbers()
    for count in counts:
        numbers.feed(count)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, SLACK)), min_size=1, max_size=12))
@example([(10, 0), (6, 0), (1, 4), (1, 5)])
@settings(max_examples=50, deadline=None)
def test_up_to_slack_rows_can_always_be_dropped(moves: list[tuple[int, int]]) -> None:
    numbers, highest = Numbers(), 0
    for count, dropped in moves:
        numbers.feed(count)
        highest = max(highest, numbers.cache.offset)
        # from the most that were ever held: what is dropped twice is no longer there
        offset = max(0, highest - SLACK, numbers.cache.offset - dropped)
        numbers.cache.rewind_to(offset)
        del numbers.held[offset:]
    numbers.feed(1)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_rows_that_were_just_fed_can_be_dropped_whatever_was_before(
    moves: list[tuple[int, int]],
) -> None:
    numbers = Numbers()
    for count, dropped in moves:  # as where tokens are proposed, of which one at least stays
        numbers.feed(count)
        offset = numbers.cache.offset - min(dropped, count - 1)
        numbers.cache.rewind_to(offset)
        del numbers.held[offset:]
    numbers.feed(1)


# Each move: feed some rows, or mark, or go to one of the marks made so far.
moves = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(1, 9)),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("rewind"), st.integers(0, 5)),
    ),
    max_size=25,
)


@given(moves)
@settings(max_examples=150, deadline=None)
def test_marks_of_all_branches_lead_back_to_their_rows(moves: list[tuple[str, int]]) -> None:
    numbers, marks = Numbers(), []
    for move, number in moves:
        if move == "feed":
            numbers.feed(number)
        elif move == "mark":
            marks.append((numbers.cache.mark(), list(numbers.held)))
        elif marks:
            mark, held = marks[number % len(marks)]
            numbers.cache.rewind(mark)
            numbers.held = list(held)
            assert numbers.cache.offset == len(held)
    numbers.feed(2)


def test_a_mark_copies_nothing_while_rows_are_only_added() -> None:
    numbers = Numbers()
    numbers.feed(3)
    before = [id(array) for array in numbers.cache.arrays]
    mark = numbers.cache.mark()
    numbers.feed(1)
    assert [id(array) for array in numbers.cache.arrays] == before
    numbers.cache.rewind(mark)
    del numbers.held[mark.offset :]
    numbers.feed(1)
    assert [id(array) for array in numbers.cache.arrays] == before


def test_going_back_before_a_mark_leaves_buffers_alone_that_the_mark_does_not_hold() -> None:
    """The window has moved to other buffers since; the full layer's rows are still the mark's."""
    numbers = Numbers()
    numbers.feed(3)
    mark = numbers.cache.mark()  # the sliding layer moves on at once, the full one with its 5th row
    for _ in range(60):
        numbers.feed(1)
    ahead = numbers.cache.mark()
    numbers.cache.rewind(mark)
    del numbers.held[3:]
    numbers.feed(40)
    before = [id(array) for array in numbers.cache.arrays]
    numbers.cache.rewind_to(numbers.cache.offset - 2)  # `ahead` holds none of these buffers
    assert numbers.cache.offset < ahead.offset
    del numbers.held[-2:]
    numbers.feed(1)
    assert [id(array) for array in numbers.cache.arrays] == before


@pytest.fixture
def window_of_4_mb(monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A sliding layer of 4096 rows of 2 x 128 numbers, with room for 256 more."""
    monkeypatch.setattr(kv, "STEP", 256)
    cache = Cache([SlidingCache(4096, 256)])
    append(cache, 4097)
    return cache


def append(cache: Cache, count: int) -> None:
    rows = mx.random.normal((1, 1, count, 128))
    layer = cache.layers[0]
    assert isinstance(layer, SlidingCache)
    seen = layer.update(cache.offset, rows, rows)
    cache.offset += count
    mx.eval(seen.keys[:, :, -1:], cache.arrays)


def test_appending_a_few_rows_copies_no_window_with_a_mark_or_without(
    window_of_4_mb: Cache,
) -> None:
    cache = window_of_4_mb
    mark = None
    for number in range(60):
        if number == 20:
            mark = cache.mark()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        append(cache, 4)
        assert mx.get_peak_memory() - before < cache.nbytes / 20
    assert mark is not None and mark.offset < cache.offset


def test_a_mark_holds_memory_only_while_it_lives(window_of_4_mb: Cache) -> None:
    cache = window_of_4_mb
    mark = cache.mark()
    for _ in range(80):
        append(cache, 4)  # over the end of the buffer, into another
    with_mark = mx.get_active_memory()
    del mark
    freed = with_mark - mx.get_active_memory()
    assert freed >= 0.9 * 4096 * 2 * 128 * 4


def test_a_filled_cache_goes_on_and_back_as_the_one_it_was_made_from() -> None:
    numbers = Numbers()
    for _ in range(9):
        numbers.feed(4)
    tensors = numbers.cache.tensors()
    other = Numbers()
    other.cache.fill(numbers.cache.offset, tensors)
    other.held, other.next = list(numbers.held), numbers.next
    assert other.cache.earliest <= other.cache.offset - SLACK
    other.cache.rewind_to(other.cache.offset - SLACK)
    del other.held[-SLACK:]
    other.feed(3)
    other.feed(9)


def test_a_cache_is_not_filled_with_too_few_rows() -> None:
    numbers = Numbers()
    numbers.feed(20)
    tensors = numbers.cache.tensors()
    for name in tensors:
        short = {**tensors, name: tensors[name][:, :, -(WINDOW - 2) :]}
        with pytest.raises(Gemma4Error, match="filled"):
            Numbers().cache.fill(20, short)
    with pytest.raises(Gemma4Error, match="filled"):
        Numbers().cache.fill(20, {})


def test_going_back_too_far_names_the_rows() -> None:
    numbers = Numbers()
    for _ in range(40):
        numbers.feed(1)
    earliest = numbers.cache.earliest
    assert WINDOW < earliest <= 40 - SLACK
    with pytest.raises(Gemma4Error, match=rf"40 rows and reaches back to row {earliest}"):
        numbers.cache.rewind_to(earliest - 1)
    with pytest.raises(Gemma4Error, match="not to row 41"):
        numbers.cache.rewind_to(41)
    numbers.cache.rewind_to(earliest)


def test_a_mark_holds_no_second_copy_of_the_rows_of_a_full_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kv, "STEP", 256)
    cache = Cache([GlobalCache(512, 512, None)])

    def append(count: int) -> None:
        cache.layers[0].update(cache.offset, mx.ones((1, 1, count, 512)))
        cache.offset += count
        mx.eval(cache.arrays)

    append(2000)
    mark = cache.mark()
    append(1000)
    with_mark = mx.get_active_memory()
    cache.rewind(mark)
    assert cache.offset == 2000 and cache.layers[0].seen(2000).keys.shape[2] == 2000
    del mark
    assert with_mark - mx.get_active_memory() < 100_000  # a copy would take 4 MB


def test_a_mark_of_another_cache_is_refused() -> None:
    mark = Numbers().cache.mark()
    with pytest.raises(Gemma4Error, match="another cache"):
        Numbers().cache.rewind(mark)


def test_a_sliding_layer_never_holds_much_more_than_window_and_slack() -> None:
    numbers = Numbers()
    for _ in range(60):
        numbers.feed(1)
        assert numbers.cache.layers[0].rows.arrays[0].shape[2] <= WINDOW + SLACK + kv.STEP


def test_one_row_holds_five_eighths_of_keys_and_values() -> None:
    full_bytes = []
    for layout in ("one_row", "plain"):
        model = tiny_model(layout=layout)
        cache = model.make_cache()
        model.forward(np.arange(20, 60), cache=cache)
        layers = [layer for layer in cache.layers if isinstance(layer, GlobalCache)]
        full_bytes.append(sum(a.nbytes for layer in layers for a in layer.rows.arrays))
    assert full_bytes[0] / full_bytes[1] == 0.625


def test_eight_bits_take_a_little_over_a_quarter_of_float32() -> None:
    # 8 bits a number, and a scale and a bias of 32 bits for 64 of them: 9 of 32 bits.
    dense, quantized = GlobalCache(64, 128, None), GlobalCache(64, 128, 8)
    for layer in (dense, quantized):
        layer.update(0, mx.ones((1, 1, 40, 128)))
    ratio = sum(a.nbytes for a in quantized.rows.arrays) / dense.rows.arrays[0].nbytes
    assert ratio == 9 / 32


@pytest.mark.parametrize("bits", [0, 3, 16, "8"])
def test_only_8_and_4_bits_are_kept(bits: object) -> None:
    with pytest.raises(Gemma4Error, match="kv_bits"):
        tiny_model().make_cache(kv_bits=bits)


def test_rows_that_no_group_divides_are_not_quantized() -> None:
    with pytest.raises(Gemma4Error, match="120 numbers"):
        GlobalCache(96, 120, 8)


def test_a_mark_holds_the_window_before_it_and_not_the_buffer_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kv, "STEP", 256)
    before = mx.get_active_memory()
    cache = Cache([SlidingCache(64, 16)])

    def append(count: int) -> None:
        rows = mx.broadcast_to(mx.arange(cache.offset, cache.offset + count)[:, None], (count, 256))
        layer = cache.layers[0]
        assert isinstance(layer, SlidingCache)
        layer.update(cache.offset, *([mx.broadcast_to(rows[None, None], (1, 4, count, 256))] * 2))
        cache.offset += count
        mx.eval(cache.arrays)

    append(4000)  # as a long prompt does
    marks = [cache.mark()]
    append(20)
    marks.append(cache.mark())
    for _ in range(20):
        append(30)
    held = (mx.get_active_memory() - before) / (2 * 4 * 256 * 4)  # rows
    assert held < 500  # with the buffer of now; it was one of 4,000
    for mark in marks:
        cache.rewind(mark)
        seen = cache.layers[0].seen(mark.offset)
        assert seen.keys[0, 3, :, 9].tolist() == [*range(mark.offset - 64, mark.offset)]
