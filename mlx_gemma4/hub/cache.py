"""The cache that all programs of the Hugging Face Hub share: where a model is in it, if whole.

Its layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..checkpoint.files import INDEX as INDEX
from ..checkpoint.files import is_whole as is_whole
from . import disk
from .client_settings import readable

SETTINGS = (
    "config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip
"""What a model's folder may hold besides its weights, as far as MLX programs read it."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def installed(repo: str, revision: str = "main") -> Path | None:
    """Find a repository's folder in the Hub's cache; None unless it is whole."""
    store = _store(repo)
    try:
        commit = (store / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = revision
    folder = store / "snapshots" / commit
    return folder if is_whole(folder) else None


def stores() -> list[Path]:
    """The folders of the repositories in the cache."""
    return sorted(_home().glob("models--*--*"))


def repo_of(store: Path) -> str:
    """Name the repository, `owner/name`, whose folder in the cache this is."""
    return store.name.removeprefix("models--").replace("--", "/", 1)


def repo_at(folder: Path) -> str:
    """Name the repository of which a folder is a snapshot in the cache; empty for another one."""
    store = folder.parent.parent
    is_snapshot = folder.parent.name == "snapshots" and store.name.startswith("models--")
    return repo_of(store) if is_snapshot else ""


def blob(repo: str, oid: str) -> Path:
    """Where the cache keeps the content that the Hub names `oid`."""
    return _store(repo) / "blobs" / oid


def publish(repo: str, revision: str, commit: str, files: Mapping[str, str]) -> Path:
    """Make the folder of a repository at a commit, of what `blob` holds.

    Args:
        revision: the branch or tag that the commit is remembered for.
        files: the oid of each, by name.
    """
    store = _store(repo)
    folder = store / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    for name, oid in files.items():
        _link(blob(repo, oid), folder / name)
    if not _COMMIT.fullmatch(revision):
        reference = store / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")
    return folder


def _store(repo: str) -> Path:
    return _home() / f"models--{repo.replace('/', '--')}"


def _home() -> Path:
    with readable():
        from huggingface_hub import constants  # which takes a moment

    return disk.expanded(constants.HF_HUB_CACHE)


def _link(target: Path, link: Path) -> None:
    """Make or repair a relative link, or else a file, so that at no time there is a wrong one."""
    if link.exists():
        return
    made = link.with_name(f".{link.name}.part")
    made.unlink(missing_ok=True)
    try:
        made.symlink_to(os.path.relpath(target, link.parent))
    except OSError:  # a disk without links, as exFAT
        if link.suffix == ".safetensors":
            target.replace(made)
        else:
            shutil.copyfile(target, made)  # two of the small ones may be alike
    made.replace(link)
