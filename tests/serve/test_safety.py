"""What a server must refuse or survive, on its default settings."""

import base64
import http.server
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mlx_gemma4.runtime.commands import Reply
from mlx_gemma4.serve import fetch, guard, media
from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.serve.errors import ApiError
from mlx_gemma4.serve.guard import Doors
from mlx_gemma4.testing.scripted_worker import ScriptedWorker

from .serving import asked, chat, picture, said, served, text, until

KEY = "s3cret"
HELLO = asked(text("hello"))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with served(ScriptedWorker(["Yes."])) as client:
        yield client


@pytest.fixture(scope="module")
def locked() -> Iterator[httpx2.Client]:
    doors = Doors(KEY, ("gemma.example",), ("https://page.example",))
    with served(ScriptedWorker(["Yes."]), doors=doors) as client:
        yield client


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def post(client: httpx2.Client, body: Any = HELLO, **headers: str) -> httpx2.Response:
    return client.post("/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost@evil.example", "", "[x", "["]
)
def test_a_name_that_is_not_ours_is_refused(client: httpx2.Client, host: str) -> None:
    assert code(post(client, host=host)) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8080", "127.0.0.1:1", "[::1]:8080"])
def test_our_own_names_and_addresses_are_let_in(client: httpx2.Client, host: str) -> None:
    assert post(client, host=host).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "", "http://[x", "[", "://"]
)
def test_a_page_of_another_server_is_refused(client: httpx2.Client, origin: str) -> None:
    assert code(post(client, origin=origin)) == (403, "forbidden")
    preflight = client.options("/v1/chat/completions", headers={"origin": origin})
    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers


def test_our_own_page_is_let_in(client: httpx2.Client) -> None:
    origin = str(client.base_url).rstrip("/")
    assert post(client, origin=origin).status_code == 200


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("http://192.168.1.5:3000/", "http://192.168.1.5:3000"),
        ("https://Page.Example:443", "https://page.example"),
    ],
)
def test_an_origin_may_be_given_as_people_write_it(given: str, origin: str) -> None:
    with served(ScriptedWorker(["Yes."]), doors=Doors(origins=(given,))) as client:
        assert post(client, origin=origin).status_code == 200
        assert post(client, origin=f"{origin}0").status_code == 403


def test_a_page_that_is_allowed_is_let_in_with_the_headers_that_a_browser_wants(
    locked: httpx2.Client,
) -> None:
    headers = {"origin": "https://page.example", "access-control-request-headers": "x-one"}
    preflight = locked.options("/v1/chat/completions", headers=headers)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "x-one"
    answer = post(locked, origin=headers["origin"], authorization=f"Bearer {KEY}")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == headers["origin"]
    refused = post(locked, origin=headers["origin"])
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == headers["origin"]


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer x"}, {"authorization": "Bearer s3cre"}, {"x-api-key": "é"},
     {"authorization": f"Basic {KEY}"}],
)  # fmt: skip
def test_without_the_key_nothing_is_answered(
    locked: httpx2.Client, headers: dict[str, str]
) -> None:
    given = {name: value.encode() for name, value in headers.items()}
    answer = locked.get("/v1/models", headers=given)
    assert code(answer) == (401, "invalid_api_key")
    theirs = locked.post("/v1/messages", headers=given).json()
    assert (theirs["type"], theirs["error"]["type"]) == ("error", "authentication_error")
    other = locked.get("/v1/messages", headers={"authorization": f"Bearer {KEY}"})
    assert (other.status_code, other.json()["type"]) == (405, "error")
    assert locked.get("/health").status_code == 200


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"host": "gemma.example"}]
)
def test_the_key_opens_in_each_way_that_clients_bring_it(
    locked: httpx2.Client, headers: dict[str, str]
) -> None:
    answer = locked.get("/v1/models", headers={"authorization": f"Bearer {KEY}"} | headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Origin": "https://evil.example"}, 403, "forbidden"),
        ({"Authorization": "Bearer x"}, 401, "invalid_api_key"),
        ({}, 401, "invalid_api_key"),
    ],
)
def test_a_websocket_is_refused_before_the_upgrade_and_told_why(
    locked: httpx2.Client, headers: dict[str, str], status: int, code: str
) -> None:
    address = f"ws://127.0.0.1:{locked.base_url.port}/v1/realtime"
    with pytest.raises(InvalidStatus) as refused:
        connect(address, additional_headers=headers).close()
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["error"]["code"] == code


def raw(client: httpx2.Client, content: bytes) -> socket.socket:
    """A connection on which this was sent."""
    connection = socket.create_connection(("127.0.0.1", client.base_url.port), 30)
    connection.sendall(content)
    return connection


def whole(body: Any) -> bytes:
    """A request as it is sent."""
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    return f"{head}{len(content)}\r\n\r\n".encode() + content


def test_a_body_is_counted_while_it_comes(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_BYTES", 1 << 20)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    told = raw(client, head + b"Content-Length: 314572800\r\n\r\n")
    assert told.recv(12) == b"HTTP/1.1 413"
    chunked = raw(client, head + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    sent = 0
    try:
        while sent < 300:  # 20 MB; the server has closed long before
            chunked.sendall(chunk)
            sent += 1
    except OSError:
        pass
    assert sent < 300
    told.close(), chunked.close()
    assert post(client).status_code == 200


def test_requests_that_never_end_are_dropped(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    half = [raw(client, head) for _ in range(50)] + [raw(client, b"") for _ in range(20)]
    late = [raw(client, head + b"\r\n{") for _ in range(30)]
    assert all(connection.recv(99) == b"" for connection in half)
    assert all(b"408" in connection.recv(99) for connection in late)
    for connection in (*half, *late):
        connection.close()
    assert post(client).status_code == 200


def bomb(width: int, height: int) -> str:
    """A PNG of a few bytes that announces so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + header + data
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    "url",
    [
        bomb(100_000, 100_000),
        bomb(1, 1),
        "data:image/png;base64,####",
        "data:image/png;base64,",
        "data:text/html,<b>",
        "data:",
        "file:///etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1:1/a.png",
        "https://example.com/a.png",
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>",
        "",
    ],
)  # fmt: skip
def test_what_is_no_usable_picture_is_refused_by_name(client: httpx2.Client, url: str) -> None:
    answer = post(client, asked({"type": "image_url", "image_url": {"url": url}}))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
     "[::ffff:127.0.0.1]", "224.0.0.1", "2130706433", "100.64.0.1"],
)  # fmt: skip
def test_only_public_addresses_are_fetched(host: str) -> None:
    with pytest.raises(ApiError, match=r"not public|fetched"):
        fetch.fetch(f"http://{host}/a.png", "url")


@pytest.mark.parametrize(
    "url",
    ["ftp://1.1.1.1/a", "http://a@1.1.1.1/", "http://", "file:///a", "http://[x", "http://a:b/"],
)
def test_only_plain_addresses_are_fetched(url: str) -> None:
    with pytest.raises(ApiError, match=r"plain|fetched"):
        fetch.fetch(url, "url")


def test_a_fetch_is_pinned_follows_no_redirect_inside_and_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/inside":
                self.send_response(302)
                self.send_header("location", "http://10.0.0.1/secret")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * (9 if self.path == "/small" else 5000))

        def log_message(self, *_: object) -> None:
            pass

    looked_up: list[str] = []
    public = fetch.public_address

    def address(host: str, port: int) -> str:
        looked_up.append(host)
        return "127.0.0.1" if host == "pictures.example" else public(host, port)

    monkeypatch.setattr(fetch, "public_address", address)
    monkeypatch.setattr(fetch, "MOST_BYTES", 1000)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://pictures.example:{server.server_port}"
        assert fetch.fetch(f"{base}/small", "url") == b"x" * 9
        assert looked_up == ["pictures.example"]
        with pytest.raises(ApiError, match="not public"):
            fetch.fetch(f"{base}/inside", "url")
        with pytest.raises(ApiError, match="MiB"):
            fetch.fetch(f"{base}/large", "url")
        server.shutdown()


def test_deep_json_and_too_many_tools_are_refused(client: httpx2.Client) -> None:
    deep = '{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}"
    answer = client.post("/v1/chat/completions", content=deep)
    assert answer.status_code == 400
    nested: Any = {}
    for _ in range(70):
        nested = {"properties": {"a": nested}}
    tool = {"type": "function", "function": {"name": "t", "parameters": nested}}
    assert post(client, {**HELLO, "tools": [tool]}).status_code == 400
    many = [{"type": "function", "function": {"name": f"t{n}"}} for n in range(600)]
    assert post(client, {**HELLO, "tools": many}).json()["error"]["param"] == "tools"


def test_a_worker_that_dies_in_an_answer_is_a_502_and_the_next_request_is_answered() -> None:
    worker = ScriptedWorker(["one two three four", "Yes."], tokens_per_second=1)
    with served(worker) as client:
        with client.stream("POST", "/v1/chat/completions", json={**HELLO, "stream": True}) as got:
            lines = got.iter_lines()
            next(lines)
            worker._token_seconds = 0.0
            worker.crash()
            rest = "".join(lines)
        assert "worker_crashed" in rest and "A test ended it." in rest
        assert said(chat(client, HELLO)) == "Yes."
        worker._token_seconds = 60.0
        until_asked = len(worker.accepted)
        answers: list[httpx2.Response] = []
        asking = threading.Thread(target=lambda: answers.append(post(client)))
        asking.start()
        until(lambda: any(isinstance(one, Reply) for one in worker.accepted[until_asked:]))
        worker.crash()
        asking.join(30)
        assert code(answers[0]) == (502, "worker_crashed")
        assert "A test ended it." in answers[0].json()["error"]["message"]
        # a crash is reported after the failures of what was asked
        until(lambda: "gemma4_worker_restarts_total 2" in client.get("/metrics").text)


def test_a_client_that_leaves_frees_its_slot() -> None:
    worker = ScriptedWorker(["word " * 500], tokens_per_second=20)
    with served(worker) as client:
        for stream in (True, False):
            connection = raw(client, whole({**HELLO, "max_tokens": 400, "stream": stream}))
            until(lambda: client.engine.busy == 1)
            connection.close()
            until(lambda: client.engine.busy == 0)


def test_more_requests_than_may_wait_are_asked_to_come_back() -> None:
    worker = ScriptedWorker(["word " * 2000], tokens_per_second=20)
    options = EngineOptions("m", slots=1, waiting=1)
    with served(worker, options) as client:
        connections = [raw(client, whole({**HELLO, "max_tokens": 1900}))]
        until(lambda: client.engine.busy == 1)
        connections.append(raw(client, whole({**HELLO, "max_tokens": 1900})))
        until(lambda: client.engine.waiting == 1)
        answer = post(client)
        assert code(answer) == (429, "server_busy")
        assert int(answer.headers["retry-after"]) > 0
        for connection in connections:
            connection.close()
        until(lambda: client.engine.busy == client.engine.waiting == 0)
        assert post(client, {**HELLO, "max_tokens": 2}).status_code == 200


def test_while_the_model_is_loaded_requests_are_asked_to_come_back() -> None:
    client_of = ScriptedWorker(["Yes."])
    with served(client_of) as client:
        loaded, client.engine.loaded = client.engine.loaded, None
        assert client.get("/health").status_code == 503
        answer = post(client)
        assert code(answer) == (503, "model_loading")
        assert "retry-after" in answer.headers
        client.engine.loaded = loaded


def test_a_picture_is_read_once_however_often_it_comes(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    patches = media.patches
    monkeypatch.setattr(media, "patches", lambda *given: made.append(1) or patches(*given))
    for _ in range(3):
        assert post(client, asked(text("x"), picture())).status_code == 200
    assert len(made) == 1
