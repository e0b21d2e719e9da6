"""What `gemma4 serve --print-config` prints, and the page that is made of it."""

import ast
import json
import shlex
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest
from starlette.applications import Starlette

from docs.update import block_updated
from mlx_gemma4 import cli
from mlx_gemma4.serve import certificate
from mlx_gemma4.serve.app import _usage, config, run
from mlx_gemma4.serve.client_settings import CLIENTS, trusting

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["serve", "--print-config", *arguments]) == 0
    return capsys.readouterr().out


def test_the_settings_have_the_address_the_model_and_the_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = ("--port", "9", "--model", "google/gemma-4-12B-it", "--api-key", "k&y")
    settings = json.loads(printed(capsys, "opencode", *chosen))
    assert settings["model"] == "gemma/gemma-4-12B-it"
    options = {"baseURL": "http://127.0.0.1:9/v1", "apiKey": "k&y"}
    assert settings["provider"]["gemma"]["options"] == options
    codex = tomllib.loads(printed(capsys, "codex", *chosen))
    assert codex["model_providers"]["gemma"]["base_url"] == "http://127.0.0.1:9/v1"
    assert codex["model_providers"]["gemma"]["wire_api"] == "responses"
    assert "ws://127.0.0.1:9/v1/realtime" in printed(capsys, "pipecat", *chosen)
    assert 'https://localhost:9"' in printed(
        capsys, "claude-code", "--port", "9", "--host", "localhost", "--certificate", "a.pem"
    )
    provider = json.loads(printed(capsys, "pi"))["providers"]["gemma"]
    assert (provider["apiKey"], provider["models"][0]["id"]) == ("none", "tiny")


def test_every_form_of_settings_holds_a_key_and_a_name_of_any_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    key, model = "pa$$wd\"`id`'\\n!", 'my "$HOME" model'
    chosen = ("--api-key", key, "--model", model)
    assert json.loads(printed(capsys, "pi", *chosen))["providers"]["gemma"]["apiKey"] == key
    codex = tomllib.loads(printed(capsys, "codex", *chosen))
    assert codex["model_providers"]["gemma"]["experimental_bearer_token"] == key
    assert codex["model"] == model
    call = ast.parse(printed(capsys, "litellm", *chosen))
    values = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
    assert key in values and f"openai/{model}" in values
    text = printed(capsys, "qwen-code", *chosen)
    script = f'{text}\nprintf \'%s|%s\' "$OPENAI_API_KEY" "$OPENAI_MODEL"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == f"{key}|{model}"


@pytest.mark.parametrize(
    "host, has_key, address, key",
    [("0.0.0.0", True, "127.0.0.1", "KEY"), ("127.0.0.1", False, "127.0.0.1", "none")],
)
def test_what_is_printed_to_paste_has_an_address_to_connect_to_and_the_keys_place(
    host: str, has_key: bool, address: str, key: str
) -> None:
    printed: list[str] = []

    def announce(text: str) -> None:
        printed.append(text)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(config(Starlette(), host, 0), announce, has_key)
    (text,) = printed
    assert f"curl http://{address}:" in text and "0.0.0.0" not in text
    assert f'api_key="{key}"' in text and f"OPENAI_API_KEY={key} " in text
    assert ("-H 'authorization: Bearer KEY'" in text) == has_key
    assert ("all addresses" in text) == has_key


def test_what_is_printed_trusts_the_servers_own_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a certificate.pem"
    certificate.make(file, ["localhost", "127.0.0.1"])
    text = _usage(config(Starlette(), "127.0.0.1", 8080, str(file)), ("127.0.0.1", 8080), False)
    curl = next(line for line in text.splitlines() if "curl" in line)
    assert shlex.split(curl)[:4] == [
        "curl", "--cacert", str(file), "https://127.0.0.1:8080/v1/chat/completions"
    ]  # fmt: skip
    cli.main(["serve", "--print-config", "openai", "--certificate", str(file)])
    for shown in (text, capsys.readouterr().err):
        assert f"SSL_CERT_FILE='{file}'" in shown


def test_a_certificate_is_named_so_that_it_is_found_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"SSL_CERT_FILE={Path.cwd() / 'gemma4.pem'}," in trusting("gemma4.pem")


def test_no_placeholder_is_left_in_any_settings(capsys: pytest.CaptureFixture[str]) -> None:
    for name in CLIENTS:
        text = printed(capsys, name)
        assert text.strip()
        assert not any(word in text for word in ("{root}", "{ws}", "{key}", "{model}"))


def test_an_unknown_program_is_refused_with_those_that_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["serve", "--print-config", "emacs"]) == 2
    assert "claude-code" in capsys.readouterr().err


def test_the_page_is_made_of_the_same_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert block_updated(page, "clients") == page
