"""Where a conversion reads from: a folder, or a repository whose files come one at a time.

Both have the same members:
  name        what the record of a conversion calls it
  commit      of the repository on the Hub, 40 hex digits; None for another folder
  shards      what each file of weights holds, by name, in the order of its bytes
  settings    the folder with config.json, the tokenizer and what else is copied
  identity    equal if and only if the files are the same
  room        bytes that it takes on the disk while it is read
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ..checkpoint.files import weight_files
from ..checkpoint.safetensors import Tensor, read_header
from . import hub
from .progress import Progress

Shards = Mapping[str, Mapping[str, Tensor]]


class Folder:
    """A model folder on this machine, of which nothing is changed; Gemma4Error if damaged."""

    def __init__(self, folder: Path, name: str | None = None, commit: str | None = None) -> None:
        self.settings, self.room = folder, 0
        self.name = name or folder.resolve().name
        self.commit = commit
        paths = weight_files(folder)
        self.shards: Shards = {name: read_header(path) for name, path in paths.items()}
        states = {name: path.stat() for name, path in paths.items()}
        self.identity = commit or json.dumps(
            {n: (s.st_size, s.st_mtime_ns) for n, s in states.items()}
        )

    def open(self, shard: str) -> Path:
        return self.settings / shard

    def release(self, shard: str) -> None:
        """Do nothing: the file is not ours."""


class Stream:
    """A repository of which only one file of weights is on the disk at a time.

    Args:
        repository: from `hub.look_up`.
        folder: for the files while they are needed.
        report: called with how far the download of the whole repository is.
    """

    def __init__(
        self,
        repository: hub.Repository,
        folder: Path,
        report: hub.Report | None = None,
        cancelled: hub.Cancelled | None = None,
    ) -> None:
        self.name, self.identity = repository.name, repository.commit
        self.commit: str | None = repository.commit
        self.settings = folder
        self._repository, self._report, self._cancelled = repository, report, cancelled
        self._weights = {file.name: file for file in repository.files if file.is_weights}
        self._came: set[str] = set()  # files of weights that were here, or are
        largest = max(file.size for file in self._weights.values())
        here = sum(path.stat().st_size for path in folder.glob("model*") if path.is_file())
        self.room = max(0, largest - here)
        hub.fetch(repository, {folder / f.name: f for f in repository.files if not f.is_weights})
        names = sorted(self._weights)
        self.shards: Shards = {name: hub.read_header(repository, name) for name in names}

    def open(self, shard: str) -> Path | None:
        """Download a file of weights, if it is not there yet; None if that was cancelled."""
        path = self.settings / shard
        if shard in self._came and not path.exists():
            self._came.clear()  # all of them come once more
        places = {path: self._weights[shard]}
        if not hub.fetch(self._repository, places, self._on_progress, self._cancelled):
            return None
        self._came.add(shard)
        return path

    def release(self, shard: str) -> None:
        self._came.add(shard)
        (self.settings / shard).unlink(missing_ok=True)

    def _on_progress(self, progress: Progress) -> None:
        """Report how far a file is, as a part of the repository."""
        if self._report is not None:
            small = self._repository.size - sum(file.size for file in self._weights.values())
            before = small + sum(self._weights[name].size for name in self._came)
            done = before + progress.done
            self._report(Progress(done, self._repository.size, progress.rate))


Source = Folder | Stream
