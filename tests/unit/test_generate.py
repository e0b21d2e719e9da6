import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.generation.prefill_decode import decode, finish, prefill
from mlx_gemma4.generation.sampler import Sampler
from mlx_gemma4.model.gemma4 import Gemma4

IDS = np.random.default_rng(0).integers(20, 500, 70)
GREEDY = Sampler(temperature=0)


def picture(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    patches = np.random.default_rng(2).random((columns * rows, 6912), np.float32)
    places = np.stack(np.divmod(np.arange(columns * rows), columns)[::-1], axis=1)
    return patches, places


def greedy_by_forward(model: Gemma4, ids: list[int], count: int) -> list[int]:
    """The plain way: the whole text through the model for every token."""
    drawn: list[int] = []
    for _ in range(count):
        drawn.append(int(mx.argmax(model.forward([*ids, *drawn])[0, -1]).item()))
    return drawn


@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
def test_prefill_gives_the_logits_of_one_forward_whatever_the_chunk(
    model: Gemma4, chunk: int
) -> None:
    cache = model.make_cache()
    hidden = finish(prefill(model, model.embed(IDS), cache, chunk))
    assert hidden is not None
    assert np.abs(np.array(model.logits(hidden) - model.forward(IDS)[:, -1:])).max() < 1e-3
    assert cache.offset == len(IDS)


def test_progress_counts_tokens_and_never_stops_inside_a_picture(model: Gemma4) -> None:
    ids = [*IDS[:3], 6, *[8] * 12, 7, *IDS[3:6]]
    seen: list[tuple[int, int]] = []
    inputs = model.embed(ids, images=[picture(4, 3)])
    finish(prefill(model, inputs, model.make_cache(), 5), lambda *step: seen.append(step))
    ends = [done for done, total in seen if total == len(ids)]
    assert ends[-1] == len(ids)
    assert not any(4 < end < 16 for end in ends)


def test_a_cancelled_prefill_keeps_the_chunks_that_were_done(model: Gemma4) -> None:
    cache = model.make_cache()
    answers = iter([False, False, True])
    hidden = finish(prefill(model, model.embed(IDS), cache, 16), cancelled=lambda: next(answers))
    assert hidden is None
    assert cache.offset == 32
    # going on from there ends where one forward does
    rest = finish(prefill(model, model.embed(IDS[32:]), cache))
    assert rest is not None
    assert np.abs(np.array(model.logits(rest) - model.forward(IDS)[:, -1:])).max() < 1e-3


def test_other_work_can_be_done_between_the_chunks_of_a_prefill(model: Gemma4) -> None:
    """Two prompts in turn, each over its own cache, end as each would alone."""
    prompts = [IDS[:40], IDS[30:]]
    waiting = [prefill(model, model.embed(ids), model.make_cache(), 16) for ids in prompts]
    ends: dict[int, mx.array] = {}
    order = []
    while len(ends) < 2:
        for number, steps in enumerate(waiting):
            if number not in ends:
                try:
                    order.append((number, *next(steps)))
                except StopIteration as end:
                    ends[number] = end.value
    assert order[:4] == [(0, 16, 40), (1, 16, 40), (0, 32, 40), (1, 32, 40)]
    for number, ids in enumerate(prompts):
        expected = model.forward(ids)[:, -1:]
        assert np.abs(np.array(model.logits(ends[number]) - expected)).max() < 1e-3


def test_greedy_decoding_draws_what_forward_passes_over_the_whole_text_draw(model: Gemma4) -> None:
    cache = model.make_cache()
    hidden = finish(prefill(model, model.embed(IDS), cache))
    assert hidden is not None
    drawn = list(decode(model, hidden, cache, GREEDY, (), 12))
    assert drawn == greedy_by_forward(model, IDS.tolist(), 12)


def test_the_cache_holds_all_ids_but_the_last_of_the_limit(model: Gemma4) -> None:
    cache = model.make_cache()
    hidden = finish(prefill(model, model.embed(IDS), cache))
    assert hidden is not None
    assert len(list(decode(model, hidden, cache, GREEDY, (), 5))) == 5
    assert cache.offset == len(IDS) + 4


def test_an_end_is_given_and_held_and_nothing_comes_after_it(model: Gemma4) -> None:
    expected = greedy_by_forward(model, IDS.tolist(), 4)
    end = expected[2]
    cache = model.make_cache()
    hidden = finish(prefill(model, model.embed(IDS), cache))
    assert hidden is not None
    drawn = list(decode(model, hidden, cache, GREEDY, (end,), 50))
    assert drawn == expected[: expected.index(end) + 1]
    assert cache.offset == len(IDS) + len(drawn)


def test_a_cancelled_or_closed_decoding_holds_exactly_what_was_given(model: Gemma4) -> None:
    cache = model.make_cache()
    hidden = finish(prefill(model, model.embed(IDS), cache))
    assert hidden is not None
    answers = iter([False, False, True])
    cut = list(decode(model, hidden, cache, GREEDY, (), 50, lambda: next(answers)))
    assert (len(cut), cache.offset) == (2, len(IDS) + 2)
    cache.rewind_to(len(IDS))
    closed = decode(model, hidden, cache, GREEDY, (), 50)
    assert [next(closed), next(closed)] == cut
    closed.close()
    assert cache.offset == len(IDS) + 2
