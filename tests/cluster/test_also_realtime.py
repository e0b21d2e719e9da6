"""Realtime, figures and health of one server before several engines, which are scripted here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mlx_gemma4.serve.also import EngineHost, Router, make_router
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.serve.guard import Doors
from mlx_gemma4.serve.merged_metrics import merged
from mlx_gemma4.serve.realtime import connection
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.realtime.calling import Call, answer, call
from tests.serve.serving import ASSETS, asked, running, served, text, until

TYPED = {"type": "input_text", "text": "What is it?"}


@contextmanager
def front(count: int = 2, key: str = "", slots: int = 1) -> Iterator[tuple[httpx2.Client, Router]]:
    """A client of the server before so many engines, "mac1" and so on; `engines` are theirs."""
    with ExitStack() as stack:
        options = EngineOptions(str(ASSETS / "tiny"), slots=slots)
        engines = [stack.enter_context(served(ScriptedWorker(), options)) for _ in range(count)]
        hosts = [
            EngineHost(f"mac{n}", str(c.base_url).rstrip("/")) for n, c in enumerate(engines, 1)
        ]
        router = Router(hosts)
        client = stack.enter_context(running(make_router(router, Doors(key))))
        client.engines = engines
        yield client, router


def ask(one: Call) -> str:
    one.item(TYPED)
    one.send("response.create")
    return answer(one.until("response.done"))


def test_a_conversation_stays_with_one_engine_and_another_goes_to_another_one() -> None:
    with front() as (client, router):
        with call(client, subprotocols=["realtime"]) as one, call(client) as other:
            assert one.socket.subprotocol == "realtime" and other.socket.subprotocol is None
            for each in (one, other):
                each.update(output_modalities=["text"])
            assert all(ask(one) for _ in range(3)) and ask(other)
            assert [host.asked for host in router.hosts] == [1, 1]
            assert [host.busy for host in router.hosts] == [1, 1]
        until(lambda: [host.busy for host in router.hosts] == [0, 0])


def test_where_every_slot_is_taken_the_client_is_refused_at_the_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SLOT_SECONDS", 0.2)
    with front() as (client, router), call(client), call(client):
        with pytest.raises(InvalidStatus) as refused, call(client):
            pass
        assert refused.value.response.status_code == 429
        assert b"All slots are in use." in refused.value.response.body
        assert not any(host.gone for host in router.hosts)


def test_an_engine_that_ends_in_a_conversation_is_named_and_the_next_goes_elsewhere() -> None:
    with front() as (client, router):
        with call(client) as one:
            client.engines[0].end()
            event = one.until("error")
            assert event["error"]["code"] == "host_lost" and "mac1" in event["error"]["message"]
            with pytest.raises(ConnectionClosed) as closed:
                one.socket.recv(timeout=60)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, "mac1" in closed.value.rcvd.reason) == (1011, True)
        with call(client) as again:
            again.update(output_modalities=["text"])
            assert ask(again)
        assert router.hosts[0].gone and not router.hosts[1].gone


def test_a_key_is_asked_for_at_the_door_and_stays_there() -> None:
    with front(1, key="secret") as (client, router):
        with pytest.raises(InvalidStatus), call(client):
            pass
        assert router.hosts[0].asked == 0
        with call(client, subprotocols=["realtime", "openai-insecure-api-key.secret"]) as one:
            one.update(output_modalities=["text"])
            assert ask(one)


def test_other_sockets_are_refused() -> None:
    with front(1) as (client, _), pytest.raises(InvalidStatus):
        connect(str(client.base_url).replace("http", "ws", 1).rstrip("/") + "/v1/other")


def test_without_an_engine_the_client_is_refused_with_the_cause() -> None:
    with front(1) as (client, router):
        router.leave(router.hosts[0], "its cable was pulled")
        with pytest.raises(InvalidStatus) as refused, call(client):
            pass
        assert refused.value.response.status_code == 502
        assert b"mac1: its cable was pulled" in refused.value.response.body


def test_an_engine_without_a_model_is_asked_only_where_no_other_is() -> None:
    with front() as (client, router):
        first, second = router.hosts
        client.engines[0].engine.loaded = None  # as while it is being loaded
        states = client.get("/health").json()
        assert states == {"status": "ok", "hosts": {"mac1": "loading", "mac2": "ok"}}
        for n in range(3):
            body = asked(text(f"hello {n}"))
            assert client.post("/v1/chat/completions", json=body).status_code == 200
        assert (first.asked, second.asked) == (0, 3)
        client.engines[1].engine.loaded = None
        assert client.get("/health").status_code == 503
        assert client.post("/v1/chat/completions", json=asked(text("x"))).status_code == 503


def test_figures_of_all_engines_are_there_by_host() -> None:
    with front() as (client, router):
        for n in range(4):
            client.post("/v1/chat/completions", json=asked(text(f"hello {n}")))
        lines = client.get("/metrics").text.splitlines()
        read = {line.rsplit(" ", 1)[0]: line.rsplit(" ", 1)[1] for line in lines}
        assert read['gemma4_seconds_to_first_token_count{host="mac1"}'] == "2"
        assert read['gemma4_seconds_to_first_token_count{host="mac2"}'] == "2"
        assert int(read['gemma4_requests_total{host="mac1",status="200"}']) >= 2
        assert read['gemma4_host_asked{host="mac1"}'] == "2"
        names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        assert len(names) == len(set(names))
        router.leave(router.hosts[1], "gone")
        later = client.get("/metrics").text
        assert 'gemma4_slots{host="mac1"} 1' in later and 'gemma4_slots{host="mac2"}' not in later
        assert 'gemma4_host_up{host="mac2"} 0' in later


def test_families_of_figures_are_whole() -> None:
    one = '# TYPE a gauge\na 1\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_count 3\n'
    assert merged({"x": one, "y": "# TYPE a gauge\na 5\n"}) == [
        "# TYPE a gauge", 'a{host="x"} 1', 'a{host="y"} 5',
        "# TYPE h histogram", 'h_bucket{host="x",le="1"} 2', 'h_count{host="x"} 3',
    ]  # fmt: skip
