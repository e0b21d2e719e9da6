"""Settings of the Hub's client in the environment that it cannot work with."""

import os
import subprocess
import sys

import pytest

CLIENT = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}


@pytest.mark.parametrize(
    "name, value",
    [
        ("HF_ENDPOINT", "http://[x"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon"),
        ("HF_HUB_ETAG_TIMEOUT", "1.5 s"),
        ("HF_HOME", "/dev/null/cache"),
        ("HF_TOKEN_PATH", "/dev/null/token"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
    ],
)
def test_what_the_hubs_client_cannot_use_is_an_error_with_a_remedy(name: str, value: str) -> None:
    command = [sys.executable, "-m", "mlx_gemma4", "get", "somebody/something", "--dry-run"]
    environment = {**os.environ, **CLIENT, name: value}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert "The settings for the Hub cannot be used" in done.stderr and "HF_" in done.stderr
    assert done.returncode == 2 and "Traceback" not in done.stderr
