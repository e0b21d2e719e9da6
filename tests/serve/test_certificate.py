import ssl
import stat
import threading
import time
from pathlib import Path

import httpx2
import pytest
import uvicorn

from mlx_gemma4.cli import main
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.serve import certificate
from mlx_gemma4.serve.app import config, make_app
from mlx_gemma4.serve.engine import Engine, EngineOptions
from mlx_gemma4.testing.scripted_worker import ScriptedWorker


def test_a_certificate_that_is_made_is_for_the_names_and_the_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    certificate.make(file, ["box.local", "localhost", "127.0.0.1", "::1"])
    certificate.check(str(file), None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    trusted = ssl.create_default_context(cafile=str(file))
    server = uvicorn.Server(
        config(
            make_app(Engine(ScriptedWorker(), EngineOptions("tiny"))),
            "127.0.0.1",
            0,
            str(file),
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    for name in ("127.0.0.1", "localhost"):
        assert httpx2.get(f"https://{name}:{port}/", verify=trusted).status_code == 200
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx2.get(f"https://127.0.0.1:{port}/")
    server.should_exit = True
    thread.join()


def test_the_command_makes_one_and_says_how_to_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--make-certificate", "--allow-host", "box.example"]) == 0
    printed = capsys.readouterr().out
    assert "gemma4.pem is for localhost" in printed and "box.example" in printed
    assert "--certificate gemma4.pem" in printed
    assert main(["serve", "--make-certificate"]) == 2  # it is there already


@pytest.mark.parametrize("content", [None, "", "no PEM"])
def test_a_certificate_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "bad.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Gemma4Error) as raised:
        certificate.check(str(file), None)
    assert raised.value.code == "certificate_unusable" and str(file) in raised.value.cause


def test_a_key_without_a_certificate_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--key", "key.pem"]) == 2
    assert "no certificate" in capsys.readouterr().err
