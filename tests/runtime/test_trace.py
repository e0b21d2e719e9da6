import json
from pathlib import Path

import pytest

from mlx_gemma4.events import Done, Token
from mlx_gemma4.runtime.reports import Hearing, Report
from mlx_gemma4.runtime.trace import Trace


def test_a_turn_is_spans_of_speech_chunks_prefill_and_decode(tmp_path: Path) -> None:
    trace = Trace()
    trace.span("speech", "speech", 100.0, 104.0)
    trace.add(Report(1, Hearing(0.4, 0.0, 10, 0.05), time=100.5))
    trace.add(Report(1, Hearing(0.5, 0.0), time=104.0))  # held, not read
    trace.add(Report(2, Token("a", 5), time=104.25))
    trace.add(Report(2, Token("b", 6), time=104.5))
    trace.add(Report(2, Done("stop", {"seconds_to_first_token": 0.125}), time=105.0))
    trace.save(tmp_path / "trace.json")
    assert (tmp_path / "trace.json").stat().st_mode & 0o077 == 0  # texts are in it
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    spans = {
        e["name"]: (tracks[e["tid"]], e["ts"] / 1e6, e["dur"] / 1e6)
        for e in events
        if e["ph"] == "X"
    }
    assert spans == {
        "speech": ("speech", 0, pytest.approx(4.0)),
        "chunk": ("model", pytest.approx(0.45), pytest.approx(0.05)),
        "prefill": ("model", pytest.approx(4.125), pytest.approx(0.125)),
        "decode": ("model", pytest.approx(4.25), pytest.approx(0.25)),  # to the last token
    }
    assert [e["args"]["text"] for e in events if e["ph"] == "i"] == ["a", "b"]
