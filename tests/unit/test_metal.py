"""What only a Mac does, with a substitute for its GPU: what MLX is asked, and when."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from mlx_gemma4.footprint import device
from mlx_gemma4.generation import prefill_decode
from mlx_gemma4.generation.prefill_decode import decode, finish, prefill
from mlx_gemma4.generation.sampler import Sampler
from mlx_gemma4.model import attention, gemma4, metal
from mlx_gemma4.model.attention import Piece
from mlx_gemma4.testing.doubles import tiny_model

WORKING_SET = 12_713 * 2**20  # of a Mac mini with 16 GB, whose rule would be 10,922


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """MLX with a Metal device that notes the limits it is given, and computes as before."""
    asked = SimpleNamespace(wired=[], freed=[])
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    facts = {"max_recommended_working_set_size": WORKING_SET, "device_name": "Apple M4"}
    monkeypatch.setattr(mx, "device_info", lambda *_: facts)
    monkeypatch.setattr(mx, "set_wired_limit", asked.wired.append)
    monkeypatch.setattr(mx, "set_cache_limit", asked.freed.append)
    monkeypatch.setattr(metal, "_owners", set())
    yield asked


def test_the_working_set_is_what_this_mac_recommends_and_not_a_rule(mac: SimpleNamespace) -> None:
    here = device.this()
    assert here.backend == "metal"
    assert here.budget == WORKING_SET - mx.get_active_memory()


def test_memory_is_wired_while_a_cache_lives_and_not_after_the_last(mac: SimpleNamespace) -> None:
    model = tiny_model()
    first = model.make_cache()
    second = model.make_cache(kv_bits=8)
    assert set(mac.wired) == {WORKING_SET}
    del first
    assert 0 not in mac.wired
    del second
    assert mac.wired[-1] == 0


def test_elsewhere_nothing_is_wired(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise AssertionError("this is no Mac")

    monkeypatch.setattr(mx, "set_wired_limit", refuse)
    monkeypatch.setattr(mx, "set_cache_limit", refuse)
    if not metal.in_use():
        tiny_model().make_cache()
        metal.limit_freed_buffers()


def test_freed_buffers_are_bounded(mac: SimpleNamespace) -> None:
    metal.limit_freed_buffers()
    assert mac.freed == [2**30]


@pytest.mark.parametrize(
    ("length", "dtype", "head_dim", "streams"),
    [
        (1024, mx.bfloat16, 512, True),
        (4096, mx.float16, 512, True),
        (1023, mx.bfloat16, 512, False),
        (1024, mx.float32, 512, False),
        (1024, mx.bfloat16, 256, False),
    ],
)
def test_only_metals_blocked_kernel_holds_no_scores(
    mac: SimpleNamespace, length: int, dtype: mx.Dtype, head_dim: int, streams: bool
) -> None:
    assert metal.streams_scores(length, dtype, head_dim) == streams


def test_in_float32_on_a_mac_the_rows_of_a_full_layer_are_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores of 1,024 rows over 1,024 keys are 4 MB a head; the limit here is a sixteenth."""
    model, cuts = tiny_model(), []
    pieces = attention.pieces

    def noted(offset: int, blocks: np.ndarray, window: int | None, *rest: object) -> object:
        cut: tuple[Piece, ...] = pieces(offset, blocks, window, *rest)  # type: ignore[arg-type]
        if window is None:
            cuts.append(len(cut))
        return cut

    monkeypatch.setattr(gemma4, "pieces", noted)
    monkeypatch.setattr(metal, "in_use", lambda: True)
    monkeypatch.setattr(metal, "wire_while_alive", lambda _: None)
    inputs = model.embed(np.arange(1024) % 400 + 20)
    mx.eval(model.hidden(inputs, model.make_cache(), score_limit=2**20))
    assert cuts == [16]


def test_freed_buffers_are_given_back_every_256_tokens_of_a_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    cache = model.make_cache()
    hidden = finish(prefill(model, model.embed([20, 21, 22]), cache))
    given: list[int] = []
    monkeypatch.setattr(prefill_decode.mx, "clear_cache", lambda: given.append(cache.offset))
    assert hidden is not None
    assert len(list(decode(model, hidden, cache, Sampler(1.0), (), 600))) == 600
    assert len(given) == 2
    assert given[1] - given[0] == 256
