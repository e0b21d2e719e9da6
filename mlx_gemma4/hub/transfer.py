"""One file of the Hub over HTTP: resumed where it was cut, checked by its hash, then put in place.

The Hub's own client opens the connection (tokens, mirrors, proxies, offline mode). The bytes are
written here: since its release 1.18 the client starts a cut file from its first byte again, which
hurts where a model is one file of 24 GB, and it compares nothing but sizes
(https://github.com/huggingface/huggingface_hub/issues/4196).
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2

from ..errors import Gemma4Error
from . import disk
from .client_settings import readable, unusable

with readable():
    from huggingface_hub import constants, errors, get_session, get_token, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # lazy

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before the next try, after as many failures in a row that brought no byte."""

_CHUNK = 1024**2
_TOKEN = "a token of huggingface.co/settings/tokens"
_PASSING = (408, 429, 500, 502, 503, 504)  # statuses of a server that is busy


def held(path: Path) -> int:
    """Bytes that came of a file which is not complete."""
    partial = _partial(path)
    return partial.stat().st_size if partial.exists() else 0


def receive(
    url: str, path: Path, size: int, oid: str, count: Callable[[int], None], stop: threading.Event
) -> None:
    """Download a file; what an earlier try left is used. When `stop` is set, it ends without it.

    Args:
        path: where it appears when all of it is there.
        size: in bytes.
        oid: SHA-256 of the content, or git's SHA-1 of it as a blob (40 digits).
        count: called with the bytes that come; those that were there before are not counted.

    Raises:
        Gemma4Error: the content has another hash, or another download of this file is running.
        httpx2.TransportError: the connection keeps failing.
        huggingface_hub.errors.HfHubHTTPError: the server refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path).open("ab+") as file:
        disk.claim(file, _partial(path))
        content = _Content(file, size, oid)
        resumed = content.size > 0
        _complete(url, content, size, count, stop)
        if resumed and content.size == size and content.digest.hexdigest() != oid:
            # it has changed since the earlier try, or that left something damaged: all of it again
            count(-content.size)
            content.restart()
            _complete(url, content, size, count, stop)
        if content.size < size:
            return
        if content.digest.hexdigest() != oid:
            _partial(path).unlink()
            raise Gemma4Error(
                "download_damaged",
                "The download is damaged",
                f"{url} does not have the hash that the Hub lists ({oid}).",
                "Run it again. If that does not help, something on the way changes it (a proxy?).",
            )
        file.flush()
        os.fsync(file.fileno())
        _partial(path).replace(path)


def _complete(
    url: str, content: "_Content", size: int, count: Callable[[int], None], stop: threading.Event
) -> None:
    """Receive what is missing of a file, trying again while that may help."""
    failures = 0
    while content.size < size and not stop.is_set():
        before = content.size
        try:
            _stream(url, content, count, stop)
            if content.size < size and not stop.is_set():
                raise httpx2.RemoteProtocolError(f"{url} ends after {content.size:,} bytes")
        except (httpx2.TransportError, errors.HfHubHTTPError) as error:
            failures = 1 if content.size > before else failures + 1
            refused = (
                isinstance(error, errors.HfHubHTTPError)
                and error.response.status_code not in _PASSING
            )
            if failures > len(WAITS) or refused:
                raise
            stop.wait(WAITS[failures - 1])


class _Content:
    """What came of a file so far, with its hash."""

    def __init__(self, file: BinaryIO, size: int, oid: str) -> None:
        self._file = file
        self._empty = hashlib.sha256()
        if len(oid) == 40:  # a small file is a git blob
            self._empty = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        self.digest = self._empty.copy()
        self.size = 0
        file.seek(0)
        while chunk := file.read(_CHUNK):
            self.digest.update(chunk)
            self.size += len(chunk)
        if self.size > size:
            self.restart()

    def restart(self) -> None:
        self._file.truncate(0)
        self.digest, self.size = self._empty.copy(), 0

    def append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)


def _stream(
    url: str, content: _Content, count: Callable[[int], None], stop: threading.Event
) -> None:
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if content.size:
        headers["Range"] = f"bytes={content.size}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        if content.size and response.status_code != httpx2.codes.PARTIAL_CONTENT:
            count(-content.size)  # the server sends all of it, whatever was asked
            content.restart()
        for chunk in response.iter_bytes():  # as they come: what is gathered would be lost in a cut
            content.append(chunk)
            count(len(chunk))
            if stop.is_set():
                return


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


@contextmanager
def explained(repo: str, revision: str) -> Iterator[None]:
    """Turn what the Hub's client raises into errors with a remedy."""
    page = f"{constants.ENDPOINT}/{repo}"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise Gemma4Error(
            "hub_offline",
            "The Hub is not asked",
            f"HF_HUB_OFFLINE is set, and {repo} is not complete on this machine.",
            "Unset it, or choose a model that is on this machine.",
        ) from error
    except errors.GatedRepoError as error:
        raise Gemma4Error(
            "repository_gated",
            f"{repo} is gated",
            f"Its owner wants its terms accepted first (status {error.response.status_code}).",
            f"Accept them at {page}, then set HF_TOKEN to {_TOKEN} and try again.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise Gemma4Error(
            "revision_missing",
            f"{repo} has no revision {revision}",
            "The Hub knows the repository, and no branch, tag or commit of this name in it.",
            f"See {page}/commits/main.",
        ) from error
    except errors.HFValidationError as error:
        raise Gemma4Error(
            "repository_name",
            f"{repo} is no name of a repository",
            f"{error}",
            "Write it as owner/name.",
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refused(error, repo, page) from error
    except UnicodeEncodeError as error:
        raise Gemma4Error(
            "token_unusable",
            "The token cannot be sent",
            "It holds letters that no token of the Hub has.",
            f"Set HF_TOKEN to {_TOKEN}.",
        ) from error
    except httpx2.TransportError as error:
        raise Gemma4Error(
            "hub_unreachable",
            "The Hub cannot be reached",
            f"{constants.ENDPOINT}: {str(error).rstrip('.') or type(error).__name__}.",
            "Look at the network (or at HF_ENDPOINT), and run it again: what came so far is kept.",
        ) from error
    except (ValueError, LookupError, TypeError, httpx2.RequestError) as error:  # in what it reads
        raise Gemma4Error(
            "hub_unreadable",
            "What answers is not the Hub",
            f"{constants.ENDPOINT} returned something else than a description of {repo} "
            f"({type(error).__name__}): the sign-in page of a network, or a proxy's.",
            "Sign in with a browser, look at HF_ENDPOINT, and run it again: what came is kept.",
        ) from error
    except OSError as error:  # the token's file, or one of certificates
        raise unusable(f"{error.filename or error}: {error.strerror or ''}") from error


def _refused(error: errors.HfHubHTTPError, repo: str, page: str) -> Gemma4Error:
    status = error.response.status_code
    absent = "The token is refused" if get_token() else "It is absent, or private: no token is set"
    causes = {401: absent, 403: "This account may not read it", 404: "The Hub does not know it"}
    if status in causes:
        return Gemma4Error(
            "repository_missing",
            f"{repo} is not to be had",
            f"{causes[status]} (status {status}).",
            f"Look for it at {page}. If it is private, set HF_TOKEN to {_TOKEN}.",
        )
    said = error.server_message or error.response.reason_phrase
    return Gemma4Error(
        "hub_refused",
        f"The Hub does not serve {repo}",
        f"It answered {status} ({said}) to {error.response.url}.",
        "Try again later: what came so far is kept.",
    )
