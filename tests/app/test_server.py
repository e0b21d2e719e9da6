"""`/serve`: other programs use the worker of the terminal program."""

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.conversation.store import ConversationStore
from app.workspace import Workspace
from mlx_gemma4.runtime.commands import Load, Open, Reply
from mlx_gemma4.runtime.reports import Failed, Finished, Idle, Loaded, Report
from mlx_gemma4.serve.guest import GuestClient
from mlx_gemma4.serve.shared import SharedServer
from mlx_gemma4.testing.scripted_worker import ScriptedWorker
from tests.app.host import COUNTED, Stage, live, staged
from tests.serve.serving import served, until

PORT = "serve_port = 0"
BODY = {"model": "m", "messages": [{"role": "user", "content": "And you?"}]}


async def opened(stage: Stage) -> str:
    """Type /serve, and return where it listens."""
    stage.app.workspace._make_server = SharedServer
    stage.app.do("serve")
    await stage.until(lambda: stage.app.workspace.server)
    assert stage.app.workspace.server is not None
    return stage.app.workspace.server.address


async def ask(address: str) -> Any:
    async with httpx2.AsyncClient(timeout=20) as client:
        answer = await client.post(f"{address}/chat/completions", json=BODY)
        return answer.json()["choices"][0]["message"]["content"]


@live
async def test_another_program_and_the_person_are_answered_by_one_worker(tmp_path: Path) -> None:
    async with staged(tmp_path, ["For you.", "For the screen."], settings=PORT) as stage:
        address = await opened(stage)
        assert await ask(address) == "For you."
        assert not stage.app.workspace.conversation.history.turns
        await stage.ask("Hello")
        assert "For the screen." in stage.text and "For you." not in stage.text
        asked = [one for one in stage.engine.accepted if isinstance(one, Open | Reply)]
        assert len({one.conversation for one in asked}) == 2
        assert len([one for one in stage.engine.accepted if isinstance(one, Load)]) == 1


@live
async def test_a_model_that_is_loaded_while_the_server_is_made_answers(tmp_path: Path) -> None:
    async with staged(tmp_path, ["For you."], settings=PORT) as stage:
        workspace = stage.app.workspace
        workspace._make_server = SharedServer  # it takes seconds; the program has heard by then
        assert await ask(await asyncio.to_thread(workspace.serve)) == "For you."


@live
async def test_once_more_ends_it_and_the_person_goes_on(tmp_path: Path) -> None:
    async with staged(tmp_path, settings=PORT) as stage:
        address = await opened(stage)
        stage.app.do("serve")
        await stage.until(lambda: stage.app.workspace.server is None)
        with pytest.raises(httpx2.TransportError):
            await ask(address)
        await stage.ask("Hello")


@live
async def test_an_answer_that_is_drawn_when_it_ends_is_cancelled(tmp_path: Path) -> None:
    answers = [COUNTED * 20, "Yes."]
    async with staged(tmp_path, answers, settings=PORT, tokens_per_second=50) as stage:
        asking = asyncio.ensure_future(ask(await opened(stage)))
        await stage.until(lambda: any(isinstance(one, Reply) for one in stage.engine.accepted))
        stage.app.do("serve")
        with pytest.raises((httpx2.HTTPError, KeyError, ValueError)):  # cut off, or an error
            await asking
        await stage.ask("Hello")


@live
async def test_a_port_that_is_taken_is_a_card(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with staged(tmp_path, settings=f"serve_port = {port}") as stage:
            stage.app.workspace._make_server = SharedServer
            stage.app.do("serve")
            await stage.until(lambda: "cannot listen" in stage.text)
            assert stage.app.workspace.server is None


def test_a_load_that_fails_is_the_server_s_too_and_a_later_one_is_taken() -> None:
    failed = Failed("memory_too_small", "It does not fit", "It takes 24 GB.", "Use 4 bits.")
    loaded = Loaded("tiny", 1.0, 8192, True, True)
    with ScriptedWorker(["For you."]) as host:
        guest = GuestClient(host)
        guest.take([Report(76, failed)])  # also before the server asks
        with served(guest) as client:
            answer = client.get("/health")
            assert answer.status_code == 503 and answer.json()["status"] == "failed"
            assert "24 GB" in answer.json()["cause"]
            assert "24 GB" in client.post("/v1/chat/completions", json=BODY).text
            guest.take([Report(77, loaded)])
            until(lambda: client.get("/health").status_code == 200)


def test_a_worker_that_crashes_while_it_loads_is_not_its_last_word() -> None:
    crashed = Failed("worker_crashed", "The worker crashed", "It ended.", "Load again.")
    with ScriptedWorker() as host:
        guest = GuestClient(host)
        guest.send(Load("another"))
        guest.take([Report(76, crashed)])
        assert guest.read(0) is None


def test_a_load_is_answered_with_what_the_host_has_as_soon_as_it_has_it() -> None:
    with ScriptedWorker() as host:
        guest = GuestClient(host)
        number = guest.send(Load("another"))
        assert guest.read(0) is None
        loaded = Loaded("tiny", 1.0, 8192, True, True)
        own = Report(77, loaded)
        assert guest.take([own]) == [own]  # it is the host's report, too
        reports = [guest.read(1), guest.read(1)]
        assert [(r.command, r.event) for r in reports if r is not None] == [
            (number, loaded),
            (number, Finished()),
        ]
        assert not any(isinstance(one, Load) for one in host.accepted)


class Server:
    """Is made slowly, and passes on all reports."""

    address = "here"

    def __init__(self, *_: object) -> None:
        self.closed = False
        time.sleep(0.3)

    def take(self, reports: Sequence[Report]) -> list[Report]:
        return list(reports)

    def close(self) -> None:
        self.closed = True


@live
async def test_another_model_ends_the_server_that_is_being_made(tmp_path: Path) -> None:
    made: list[Server] = []
    async with staged(tmp_path) as stage:
        workspace = stage.app.workspace
        workspace._make_server = lambda *_: made.append(Server()) or made[-1]  # type: ignore
        stage.app.do("serve")
        stage.app.do("serve")
        await asyncio.sleep(0.1)
        stage.app.do("model", "tiny-4bit")
        await stage.until(lambda: workspace.settings.model == "tiny-4bit")
        assert len(made) == 1 and made[0].closed and workspace.server is None


def test_a_server_that_ends_while_reports_are_read_stops_nobody(tmp_path: Path) -> None:
    class Ending(Workspace):
        @property
        def server(self) -> Server | None:
            """There once: another thread ends it then."""
            return servers.pop() if servers else None

        @server.setter
        def server(self, _: object) -> None:
            """Left as it is."""

    servers: list[Server] = []
    with ScriptedWorker() as worker:
        workspace = Ending(worker, ConversationStore(tmp_path / "all"), tmp_path)
        servers.append(Server())
        idle = Report(None, Idle())
        assert workspace.take([idle]) == [idle]
        workspace.close()


@live
async def test_a_model_that_is_set_ends_the_server_while_the_screen_goes_on(tmp_path: Path) -> None:
    async with staged(tmp_path, settings=PORT) as stage:
        await opened(stage)
        server = stage.app.workspace.server
        assert server is not None
        close, closers = server.close, []

        def closed() -> None:
            closers.append(threading.current_thread())
            close()

        server.close = closed  # type: ignore[method-assign]
        await stage.press("f3")
        await stage.until(lambda: stage.app.screen.query("#set-model"))
        line = stage.app.screen.query_one("#set-model")
        line.value = "tiny-4bit"  # type: ignore[attr-defined]
        line.focus()
        await stage.press("enter")
        await stage.until(lambda: stage.app.workspace.settings.model == "tiny-4bit")
        assert closers and threading.main_thread() not in closers
