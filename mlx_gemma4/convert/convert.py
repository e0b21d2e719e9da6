"""A published checkpoint -> a folder with fewer bits, in little memory and with no model built.

Which file will hold which bytes follows from the headers and the recipe alone. Then the files are
written one after another, each from its first byte to its last: some rows are read, quantized and
appended. A file gets its name when it is complete and on the disk, so a run that was killed resumes
with the first that is missing, and ends with the same bytes. The folder gets its name last.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoint.adapters import Adapter, check_fits
from ..checkpoint.recipes import Recipe
from ..errors import Gemma4Error
from ..hub import cache as hub_cache
from ..hub import disk
from ..hub.installed import PARTIAL, RECORD
from ..hub.progress import Progress, Speed
from ..hub.sources import Source
from ..json_reader import Section, read_object
from ..model.config import load_config
from .plan import Plan, impossible, make_plan
from .rewrite import Rewriter

MADE_FROM = "begun.json"
"""The file of a partial folder that records what it is made from, and how."""


def convert(
    source: Source,
    folder: Path,
    recipe: Recipe,
    report: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    adapter: Adapter | None = None,
) -> Path | None:
    """Convert a model; a call that was cut is resumed where it was.

    Args:
        folder: appears when all is done; until then there is `partial(folder)` beside it.
        report: called with the bytes of the source that are done, from 0 again in each call.
        cancelled: asked as often whether to stop.
        adapter: one to merge in.

    Returns:
        The folder, or None if it was cancelled; what was done until then is kept.

    Raises:
        Gemma4Error: see `make_plan`; or the adapter is of another model, the folder is there
            already, the disk is too small, or another conversion into the same folder was started
            or is running.
    """
    plan = make_plan(source, recipe)
    how: dict[str, Any] = {"recipe": asdict(recipe)}
    if adapter is not None:
        check_fits(adapter, load_config(source.settings))
        how["adapter"] = adapter.digest
    made_from = json.dumps({"source": source.identity, **how, "by": __version__})
    work = partial(folder)
    made = work / "model"
    refuse_old(folder)
    if folder.exists() and _is_from(work, made_from):
        shutil.rmtree(work)  # the former call was cut when all was done
        return folder
    with disk.explained():
        made.mkdir(parents=True, exist_ok=True)
    with disk.explained(), (work / "lock").open("w") as lock:
        disk.claim(lock, work)
        if not _is_from(work, made_from):
            disk.write(work / MADE_FROM, made_from.encode())
        missing = [file for file in plan.files if not (made / file.name).exists()]
        last = {file.shard: file for file in missing}
        for shard in source.shards.keys() - last.keys():
            source.release(shard)
        for rest in made.glob("*.part"):  # what was cut is written once more
            rest.unlink()
        disk.need_space(folder, sum(file.nbytes for file in missing) + source.room)
        speed = Speed(sum(part.source.nbytes for file in missing for part in file.parts), 0)

        def on_progress(count: int) -> bool:
            speed.add(count)
            if report is not None:
                report(speed.progress())
            return cancelled is None or not cancelled()

        with Rewriter(plan.grid, on_progress, adapter) as rewriter:
            for file in missing:
                path = source.open(file.shard)
                if path is None or not rewriter.write(file, path, made / file.name):
                    return None
                if file is last[file.shard]:
                    rewriter.afterwards(source.release, file.shard)
        _finish(plan, source, how, made, rewriter.hashes)
        made.replace(folder)
        shutil.rmtree(work)
    return folder


def refuse_old(folder: Path) -> None:
    """Raise Gemma4Error if a folder is there which a conversion did not just finish."""
    work = partial(folder)
    if folder.exists() and ((work / "model").exists() or not (work / MADE_FROM).exists()):
        raise impossible(f"{folder} is there already.", "Choose another folder, or remove it.")


def partial(folder: Path) -> Path:
    """Where a conversion into a folder keeps what is done: beside it, on the same disk."""
    where = folder.resolve()  # "." has no name
    return where.parent / f"{where.name}{PARTIAL}"


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of a converted folder against the size and hash in its record.

    Returns:
        The record: program, source, commit, recipe, the digest of an adapter that was merged in,
        and by file its bytes and sha256.

    Raises:
        Gemma4Error: there is no record, or files are missing, damaged, or were put there later.
    """
    written = read_object(folder / RECORD)
    if written is None:
        raise Gemma4Error(
            "folder_unverifiable",
            "The folder cannot be checked",
            f"{folder} has no {RECORD}: `gemma4 convert` did not make it.",
            "Convert the model with it.",
        )
    read = Section(written, RECORD)
    files, _, _ = read.get("files", dict), read.get("source", str), read.get("commit", str, "")
    wrong = []
    for name, expected in files.items():
        if not (folder / name).is_file():
            wrong.append(f"{name} is missing")
        elif _measured(folder / name) != expected:
            wrong.append(f"{name} is damaged")
    weights = (path.name for path in folder.glob("*.safetensors"))
    # macOS keeps notes beside a file on other disks, as `._NAME`
    added = {name for name in weights if not name.startswith(".")} - set(files)
    wrong += [f"{name} does not belong there" for name in sorted(added)]
    if wrong:
        raise Gemma4Error(
            "folder_damaged", "The folder is damaged", f"{'; '.join(wrong)}.", "Convert it again."
        )
    return written


def _is_from(work: Path, made_from: str) -> bool:
    """Whether this conversion was started there before; an error if another one was."""
    path = work / MADE_FROM
    if path.exists() and path.read_text("utf-8") != made_from:
        raise impossible(
            f"{work} is a conversion of another source, by another recipe or program.",
            "Finish that one, remove it, or choose another folder (-o).",
        )
    return path.exists()


def _finish(
    plan: Plan, source: Source, how: Mapping[str, Any], folder: Path, hashes: Mapping[str, str]
) -> None:
    """Write what belongs beside the weights, and the record of all: see `record`."""
    for name in hub_cache.SETTINGS:
        if (source.settings / name).is_file():
            disk.write(folder / name, (source.settings / name).read_bytes())
    disk.write(folder / "config.json", _json(plan.config))
    if len(plan.files) > 1:
        places = {name: file.name for file in plan.files for name in file.tensors}
        index = {"metadata": {"total_size": plan.nbytes}, "weight_map": places}
        disk.write(folder / hub_cache.INDEX, _json(index))
    record(folder, source.name, source.commit, how, hashes)


def record(
    folder: Path,
    source: str,
    commit: str | None,
    how: Mapping[str, Any],
    hashes: Mapping[str, str],
) -> None:
    """Write what a folder was made of and how, and every file's size and hash.

    Args:
        how: the recipe, and the digest of an adapter that was merged in; empty as the Hub has it.
        hashes: SHA-256 of the files that are known already, by name.
    """
    everything = sorted(path.name for path in folder.iterdir())
    names = [name for name in everything if name != RECORD and not name.startswith(".")]
    written = {
        "program": f"mlx-gemma4 {__version__}",
        "source": source,
        "commit": commit,
        **how,
        "files": {name: _measured(folder / name, hashes.get(name)) for name in names},
    }
    disk.write(folder / RECORD, _json(written))


def _measured(path: Path, digest: str | None = None) -> dict[str, Any]:
    if digest is None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
