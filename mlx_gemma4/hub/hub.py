"""Models of the Hugging Face Hub: what they weigh, and their download.

Names, sizes and hashes come first (`look_up`), then the download (`download`) into the cache that
every program of the Hub shares. A file appears there only when its size and hash are the Hub's
(`transfer.py`), and a model is found there (`cache.installed`) only when all its files are.
"""

import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.safetensors import Tensor, tensor
from ..errors import Gemma4Error
from . import cache as hub_cache
from . import disk
from .client_settings import readable
from .progress import Progress, Speed
from .transfer import explained, held, receive

with readable():
    from huggingface_hub import HfApi, constants, errors, hf_hub_url

Report = Callable[[Progress], None]
"""Called about ten times a second, by the thread that asked for the download."""
Cancelled = Callable[[], bool]
"""Asked as often whether to stop."""

_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_CONNECTIONS = 4
_TICK = 0.1  # seconds between two reports


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        size: in bytes.
        oid: what the Hub and its cache name the content by: SHA-256 of a large file (Git LFS),
            git's SHA-1 of a small one.
    """

    name: str
    size: int
    oid: str

    @property
    def is_weights(self) -> bool:
        return _WEIGHTS.fullmatch(self.name) is not None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit (40 hex digits), with the files that a model needs."""

    name: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def look_up(repo: str, revision: str = "main") -> Repository:
    """Ask the Hub what a model consists of, or raise Gemma4Error; nothing is downloaded."""
    with explained(repo, revision):
        found = HfApi().model_info(
            repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        )
    every = [
        RemoteFile(one.rfilename, one.size or 0, (one.lfs.sha256 if one.lfs else one.blob_id) or "")
        for one in found.siblings or ()
    ]
    settings = (*hub_cache.SETTINGS, hub_cache.INDEX)
    files = tuple(file for file in every if file.is_weights or file.name in settings)
    if not any(f.name == "config.json" for f in files) or not any(f.is_weights for f in files):
        raise Gemma4Error(
            "repository_unusable",
            f"{repo} cannot be used",
            "It has no config.json, or no weights in files named model*.safetensors.",
            "Choose a repository like google/gemma-4-12B-it.",
        )
    return Repository(repo, found.sha or revision, files)


def download(
    repository: Repository,
    revision: str = "main",
    report: Report | None = None,
    cancelled: Cancelled | None = None,
) -> Path | None:
    """Download into the Hub's cache what is not there yet.

    Args:
        repository: from `look_up`.
        revision: by which it was looked up, and by which `cache.installed` finds it.

    Returns:
        The model's folder, or None if it was cancelled. What came until then is kept, and the next
        download goes on from there.

    Raises:
        Gemma4Error: the disk is too small, the connection keeps failing, or a file's hash is wrong.
    """
    name = repository.name
    places = {hub_cache.blob(name, file.oid): file for file in repository.files}
    if not fetch(repository, places, report, cancelled):
        return None
    oids = {file.name: file.oid for file in repository.files}
    with disk.explained():
        return hub_cache.publish(name, revision, repository.commit, oids)


def fetch(
    repository: Repository,
    places: Mapping[Path, RemoteFile],
    report: Report | None = None,
    cancelled: Cancelled | None = None,
) -> bool:
    """Download files to these places, which are on one disk; what is there is left alone.

    Returns:
        Whether all are there; False if it was cancelled.

    Raises:
        Gemma4Error: as `download`.
    """
    missing = {
        path: file
        for path, file in places.items()
        if not (path.is_file() and path.stat().st_size == file.size)
    }
    if not missing:
        return True
    left = sum(file.size - held(path) for path, file in missing.items())
    disk.need_space(next(iter(missing)).parent, left)
    total = sum(file.size for file in places.values())
    speed, stop = Speed(total, total - left), threading.Event()

    def run(path: Path, file: RemoteFile) -> None:
        url = hf_hub_url(repository.name, file.name, revision=repository.commit)
        with explained(repository.name, repository.commit), disk.explained():
            receive(url, path, file.size, file.oid, speed.add, stop)

    pool = ThreadPoolExecutor(_CONNECTIONS)
    pending: set[Future[None]] = {pool.submit(run, *item) for item in missing.items()}
    try:
        while pending:
            done, pending = wait(pending, _TICK, FIRST_COMPLETED)
            for task in done:
                task.result()
            if report is not None:
                report(speed.progress())
            if pending and cancelled is not None and cancelled():
                return False
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return True


def read_header(repository: Repository, name: str) -> dict[str, Tensor]:
    """Ask what a file of weights holds, in the order of its bytes, without downloading it.

    Raises:
        Gemma4Error: the Hub cannot be reached, or it is no safetensors file.
    """
    with explained(repository.name, repository.commit):
        try:
            found = HfApi().parse_safetensors_file_metadata(
                repository.name, name, revision=repository.commit
            )
        except errors.SafetensorsParsingError as error:
            raise Gemma4Error(
                "repository_unusable",
                f"{repository.name} cannot be used",
                f"{name} is no safetensors file ({error}).",
                "Choose another repository.",
            ) from error
    ordered = sorted(found.tensors.items(), key=lambda item: item[1].data_offsets)
    place = f"{repository.name}/{name}"
    return {
        tensor_name: tensor(place, tensor_name, t.dtype, t.shape, t.data_offsets[0])
        for tensor_name, t in ordered
    }
