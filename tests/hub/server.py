"""A local server that speaks the Hub's protocol, with the faults of real networks.

What huggingface_hub 2.4 asks for: the model's API with sizes and hashes, and `resolve` for files.
A large file (LFS) is redirected to another path, as the Hub redirects to its CDN.
"""

import functools
import hashlib
import io
import json
import math
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Content = bytes | Path  # a large one may be in a file

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and how it misbehaves; read by every request.

    Attributes:
        files: by repository, then by name.
        token: without it, everything is refused.
        gated: repositories whose terms were not accepted.
        cut_after: bytes after which the next connections drop, one number for each.
        silent: seconds for which such a connection stays open and sends nothing.
        busy: how many of the next requests for a large file are answered with 503.
        chunk, pause: send so many bytes, then wait so many seconds.
        holds: after so many bytes in all, send nothing more while it is this.
        ignores_ranges: always send the whole file.
        corrupt: names whose last byte is sent wrong.
        commit: what "main" is now.
        forgets: it knows no other commit than that.
        only_whole: `cut_after` is for requests from some place to the end, not for headers.
        portal: a part of paths that are answered with a page of HTML, as a network's sign-in does.
        circle: a part of paths that redirect to themselves.
        requests: (method, path, range) of all that was asked.
    """

    files: dict[str, dict[str, Content]] = field(default_factory=dict)
    token: str | None = None
    gated: set[str] = field(default_factory=set)
    cut_after: list[int] = field(default_factory=list)
    silent: float = 0.0
    busy: int = 0
    chunk: int = 65536
    pause: float = 0.0
    holds: float = math.inf
    ignores_ranges: bool = False
    corrupt: set[str] = field(default_factory=set)
    commit: str = COMMIT
    forgets: bool = False
    only_whole: bool = False
    portal: str = ""
    circle: str = ""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def asked(self, part: str) -> list[str | None]:
        """The ranges asked of paths that hold `part`."""
        return [ranges for _, path, ranges in self.requests if part in path]


def is_large(name: str) -> bool:
    return name.endswith(".safetensors")


@functools.cache
def oid(name: str, content: Content) -> str:
    if isinstance(content, Path):
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if is_large(name):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def size_of(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def pieces(content: Content, start: int, stop: int, length: int) -> Iterator[bytes]:
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        file.seek(start)
        while start < stop:
            piece = file.read(min(length, stop - start))
            start += len(piece)
            yield piece


def start(hub: Hub) -> ThreadingHTTPServer:
    """Serve on a free port of this machine, in a thread of its own."""

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append((self.command, path, self.headers.get("Range")))
        if self.state.portal and self.state.portal in path:
            page = b"<html>Sign in</html>"
            self._answer(200, {"Content-Type": "text/html"}, [page], len(page))
            return
        if self.state.circle and self.state.circle in path:
            self._answer(302, {"Location": self.path}, [], 0)
            return
        parts = path.strip("/").split("/")
        if parts[0] == "cdn":
            self._send_file(self.state.files["/".join(parts[1:3])][parts[3]], parts[3])
            return
        is_api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if is_api else parts[:2])
        if self._refused(repo):
            return
        if is_api:
            revision = parts[5] if len(parts) > 5 else "main"
            known = {"main", self.state.commit, *(() if self.state.forgets else (COMMIT,))}
            if revision not in known:
                self._error(404, "RevisionNotFound", "Invalid rev id")
            elif parts[4:5] == ["tree"]:
                self._send_tree(repo)
            else:
                self._send_info(repo, self.state.commit if revision == "main" else revision)
            return
        name = "/".join(parts[4:])
        content = self.state.files[repo].get(name)
        if content is None:
            self._error(404, "EntryNotFound", "Entry not found")
        elif is_large(name):
            self._answer(
                302, {**_metadata(name, content), "Location": f"{self.state.url}/cdn/{repo}/{name}"}
            )
        else:
            self._send_file(content, name)

    def _refused(self, repo: str) -> bool:
        state = self.state
        if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
            self._error(401, "", "Invalid username or password.")
        elif repo in state.gated:
            self._error(403, "GatedRepo", "Access to this model is restricted.")
        elif repo not in state.files:
            self._error(404, "RepoNotFound", "Repository not found")
        else:
            return False
        return True

    def _send_info(self, repo: str, commit: str) -> None:
        siblings: list[dict[str, Any]] = []
        for name, content in self.state.files[repo].items():
            size, blob = size_of(content), oid(name, content)
            lfs = {"sha256": blob, "size": size, "pointerSize": 134}
            siblings.append(
                {"rfilename": name, "size": size, "blobId": blob}
                | ({"blobId": "f" * 40, "lfs": lfs} if is_large(name) else {})
            )
        self._send_json({"id": repo, "sha": commit, "siblings": siblings})

    def _send_tree(self, repo: str) -> None:
        self._send_json(
            [
                {"type": "file", "path": name, "size": size_of(content), "oid": oid(name, content)}
                for name, content in self.state.files[repo].items()
            ]
        )

    def _send_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._answer(200, {"Content-Type": "application/json"}, [body], len(body))

    def _send_file(self, content: bytes, name: str) -> None:
        state = self.state
        if is_large(name) and self.command == "GET" and state.busy:
            state.busy -= 1
            self._error(503, "", "Service Unavailable")
            return
        if name in state.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        status, headers, start, stop = 200, _metadata(name, content), 0, size_of(content)
        asked = self.headers.get("Range")
        if asked and not state.ignores_ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or stop - 1) + 1, stop)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_of(content)}"
            status = 206
        cuts = is_large(name) and not (state.only_whole and asked and not asked.endswith("-"))
        cut = state.cut_after.pop(0) if cuts and state.cut_after else stop - start
        body = pieces(content, start, min(start + cut, stop), self.state.chunk)
        self._answer(status, headers, body, stop - start)
        if cut < stop - start:
            self.wfile.flush()
            time.sleep(self.state.silent)
            self.close_connection = True

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, {"X-Error-Code": code, "X-Error-Message": message})

    def _answer(
        self, status: int, headers: dict[str, str], body: Iterable[bytes] = (), size: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for piece in () if self.command == "HEAD" else body:
            try:
                self.wfile.write(piece)
            except OSError:  # the client has gone
                self.close_connection = True
                return
            self.state.sent += len(piece)
            if self.state.pause:
                time.sleep(self.state.pause)
            while self.state.sent >= self.state.holds:
                time.sleep(0.01)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


def _metadata(name: str, content: Content) -> dict[str, str]:
    blob = f'"{oid(name, content)}"'
    linked = (
        {"X-Linked-Etag": blob, "X-Linked-Size": str(size_of(content))} if is_large(name) else {}
    )
    return {"ETag": blob, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes", **linked}
