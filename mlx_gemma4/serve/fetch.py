"""Fetches a picture from a public address (`--fetch`), bounded in bytes, seconds and redirects.

The address is looked up once, checked, and connected to as it is: a name that is looked up again
could have become a private one in between. Redirects are checked in the same way.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from .errors import ApiError

MOST_BYTES = 32 << 20
SECONDS = 20.0
REDIRECTS = 3
_STEP = 64 << 10


def fetch(url: str, param: str) -> bytes:
    """Fetch what is at an http or https address.

    Raises:
        ApiError: it is not public, does not answer, or is too large; `param` is the field.
    """
    due = time.monotonic() + SECONDS
    try:
        for _ in range(REDIRECTS + 1):
            found = _once(url, param, due)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(f"it cannot be fetched ({error})", param) from error
    raise _failed(f"it is redirected more than {REDIRECTS} times", param)


def public_address(host: str, port: int) -> str:
    """Return an address of a host whose addresses are all public.

    Raises:
        ValueError: one is not public.
        OSError: it has no address.
    """
    found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in found:
        address = ipaddress.ip_address(str(text).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if not mapped.is_global or mapped.is_multicast:
            raise ValueError("its address is not public")
    return str(found[0])


def _once(url: str, param: str, due: float) -> bytes | str:
    """Return the content, or the address that it is redirected to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise _failed("it is no plain http or https address", param)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    connection = _Pinned(parts.hostname, port, public_address(parts.hostname, port), secure, due)
    try:
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request("GET", target, headers={"accept": "image/*", "connection": "close"})
        answer = connection.getresponse()
        place = answer.getheader("location")
        if answer.status in (301, 302, 303, 307, 308) and place:
            return place
        if answer.status != 200:
            raise _failed(f"the answer has status {answer.status}", param)
        content = bytearray()
        while part := answer.read1(_STEP):
            content += part
            if len(content) > MOST_BYTES:
                raise _failed(f"it has more than {MOST_BYTES >> 20} MiB", param)
        if time.monotonic() >= due:
            raise _failed(f"it takes more than {SECONDS:g} s", param)
        return bytes(content)
    finally:
        connection.end()


class _Pinned(http.client.HTTPConnection):
    """A connection to a checked address; the certificate must be for the host's name."""

    def __init__(self, host: str, port: int, address: str, secure: bool, due: float) -> None:
        super().__init__(host, port, timeout=max(0.1, due - time.monotonic()))
        self._address = address
        self._secure = secure
        self._due = due
        self._late: threading.Timer | None = None
        self._same: socket.socket | None = None  # TLS takes over `sock`, and then the answer

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        self._same = self.sock.dup()
        # what comes in drops is never late for the socket's own timeout
        self._late = threading.Timer(self._due - time.monotonic(), self._shut)
        self._late.daemon = True
        self._late.start()
        if self._secure:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    def _shut(self) -> None:
        assert self._same is not None
        with suppress(OSError):
            self._same.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close it; `close` is called before an answer is read."""
        self.close()
        if self._late is not None and self._same is not None:
            self._late.cancel()
            self._same.close()


def _failed(cause: str, param: str) -> ApiError:
    return ApiError(400, f"The picture is not used: {cause}.", "image_url_not_fetched", param)
