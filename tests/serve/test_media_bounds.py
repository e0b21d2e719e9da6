"""How much media one request may have, wherever in it they are."""

import asyncio
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_gemma4.runtime.commands import AddToolResult
from mlx_gemma4.serve import fetch, media, transcriptions
from mlx_gemma4.serve.errors import ApiError
from mlx_gemma4.serve.media import MOST_MEDIA, MediaReader
from mlx_gemma4.serve.request import Media, RequestTurn
from tests.serve.serving import DIGITS, RECEIPT, base64_of

LOADED: Any = SimpleNamespace(sees=True, hears=True, image_tokens=70)
PICTURE = Media("image", f"data:image/png;base64,{base64_of(RECEIPT)}")


def read(*parts: Any) -> int:
    """How many parts a turn of these has when they are read."""
    (turn,) = asyncio.run(MediaReader().turns([RequestTurn("user", parts)], LOADED))
    return len(turn.parts)


def test_pictures_in_results_of_tools_count_too() -> None:
    result = AddToolResult("call_1", ["seen", PICTURE])
    assert read(*[PICTURE] * (MOST_MEDIA - 1), result) == MOST_MEDIA
    with pytest.raises(ApiError, match=f"{MOST_MEDIA + 1} pictures and sounds"):
        read(*[PICTURE] * MOST_MEDIA, result)


def test_a_sound_that_announces_too_much_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_SECONDS", 1)
    monkeypatch.setattr(media, "read_sound", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(ApiError, match="longer than 1 s") as caught:
        read(Media("sound", base64_of(DIGITS)))
    assert caught.value.code == "sound_too_long"
    with pytest.raises(ApiError, match="longer than 1 s") as caught:
        transcriptions.clips_of(DIGITS.read_bytes(), None)
    assert caught.value.param == "file"


@pytest.mark.parametrize("dripping", ["headers", "body"])
def test_a_picture_that_comes_in_drops_is_given_up_in_time(
    dripping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "public_address", lambda *_: "127.0.0.1")
    monkeypatch.setattr(fetch, "SECONDS", 0.3)
    left = threading.Event()

    def drip(server: socket.socket) -> None:
        with server.accept()[0] as client:
            start = b"x: " if dripping == "headers" else b"transfer-encoding: chunked\r\n\r\n9;"
            try:
                client.sendall(b"HTTP/1.1 200 OK\r\n" + start)
                for _ in range(200):
                    client.sendall(b"x")
                    time.sleep(0.05)
            except OSError:  # it was given up
                left.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=[server])
        thread.start()
        with pytest.raises(ApiError, match="takes more than|cannot be fetched"):
            fetch.fetch(f"http://pictures.example:{server.getsockname()[1]}/a.png", "url")
        thread.join(20)
        assert left.is_set()
