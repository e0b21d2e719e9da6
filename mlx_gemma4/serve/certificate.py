"""A self-signed certificate for https in the home network, made by the openssl command."""

import os
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import Gemma4Error

DAYS = 825
"""How long it is valid: iPhones and Macs refuse more (support.apple.com/103769)."""

_CONFIG = """
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = {name}
[extensions]
subjectAltName = {names}
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
"""


def own_names() -> list[str]:
    """Return the names and the address under which others find this computer."""
    host = socket.gethostname()
    names = ["localhost", host, f"{host.removesuffix('.local')}.local", "127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: finds the address that would be used
            names.append(probe.getsockname()[0])
        except OSError:
            pass  # there is no network
    return list(dict.fromkeys(names))


def make(file: Path, names: Sequence[str]) -> None:
    """Make a certificate and its key in one PEM file, readable by its owner alone.

    Args:
        file: must not be there yet.
        names: the names and addresses that the certificate is for.

    Raises:
        Gemma4Error: the file is there, or cannot be written, or openssl is missing or fails.
    """
    alternatives = ", ".join(
        f"{'IP' if name.replace('.', '').isdigit() or ':' in name else 'DNS'}:{name}"
        for name in names
    )
    with tempfile.TemporaryDirectory() as folder:
        config, key, certificate = (Path(folder, name) for name in ("config", "key", "certificate"))
        config.write_text(_CONFIG.format(name=names[0], names=alternatives))
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(DAYS)]
        command += ["-config", str(config), "-keyout", str(key), "-out", str(certificate)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise _failed(f"openssl: {error.strerror}.", "Install openssl.") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"Its status is {done.returncode}."]
            raise _failed(lines[-1], "See `openssl req`.")
        content = certificate.read_bytes() + key.read_bytes()
    try:
        place = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _failed(f"{file}: {error.strerror}.", "Choose another file.") from error
    with os.fdopen(place, "wb") as written:
        written.write(content)


def made(file: Path, more: Sequence[str]) -> str:
    """Make one for this computer's own names and `more`; return what its user needs to know."""
    names = [*own_names(), *more]
    make(file, names)
    return (
        f"{file} is for {', '.join(names)}, and holds {DAYS} days.\n"
        "A browser warns of it once, until its first part is installed there as trusted.\n"
        f"gemma4 serve --host 0.0.0.0 --api-key KEY --certificate {file}"
    )


def check(certificate: str | None, key: str | None) -> None:
    """Check that a server can use a certificate.

    Raises:
        Gemma4Error: a file is missing, or no PEM, or the key is not the certificate's.
    """
    try:
        if certificate is None:
            raise ssl.SSLError(0, "there is a key but no certificate")
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        raise Gemma4Error(
            "certificate_unusable",
            "The certificate cannot be used",
            f"{certificate or key}: {reason}.",
            "Use a PEM file with certificate and key, or two files (--certificate and --key); "
            "`gemma4 serve --make-certificate` makes one.",
        ) from error


def _failed(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("certificate_failed", "The certificate cannot be made", cause, remedy)
