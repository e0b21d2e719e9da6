"""The commands about models as files: `gemma4 convert` and `gemma4 verify`.

What a command made goes to stdout, everything else to stderr.
"""

import argparse
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint import recipes
from ..convert import pin
from ..errors import Gemma4Error
from ..hub import catalog, disk, installed, installed_adapters
from ..hub.client_settings import readable
from ..hub.progress import Progress
from ..json_reader import is_folder
from .options import Option, Subcommand, new_folder, not_understood
from .streams import ProgressLine, inform, put

if TYPE_CHECKING:
    from ..checkpoint.adapters import Adapter
    from ..hub.sources import Source

CONVERT_OPTIONS = (
    Option(
        "source",
        "a folder, a name of Package.toml, or owner/name of a repository on the Hub",
        "SOURCE",
        required=True,
    ),
    Option("-o", "the folder to write (here, after source and recipe)", "FOLDER", new_folder),
    Option(
        "--recipe",
        f"how many bits for what: {', '.join(recipes.RECIPES)} (the package's, or "
        f"{recipes.DEFAULT})",
        "NAME",
    ),
    Option("--bits", "instead of a recipe: so many bits for every matrix", "N", int),
    Option("--group-size", "instead of a recipe: so many weights share a scale", "N", int),
    Option("--mode", "instead of a recipe: affine, mxfp4, mxfp8 or nvfp4 (affine)", "MODE"),
    Option(
        "--budget",
        "instead of a recipe: so many bytes for the weights, spent where they matter most",
        "7.2GB",
    ),
    Option(
        "--adapter",
        "merge what `gemma4 tune` has made; into a quantized model at 8 bits (--bits)",
        "NAME|FOLDER",
    ),
    Option("--force", "merge even where most of the adapter's change is lost"),
    Option("--revision", "branch, tag or commit of a repository on the Hub", "NAME"),
    Option("--pin", "write the commit that is found into the catalogue, for the package SOURCE"),
    Option("--low-disk", "keep only one file of a repository on the disk at a time"),
)


def _convert(options: argparse.Namespace) -> None:
    if options.pin:
        pin.check(options.source)
    recipe, label = _recipe(options)
    place = _place(options.source, options.revision)
    if isinstance(place, Path) and (options.low_disk or options.revision):
        raise not_understood(
            "A folder has no other revision, and files of a folder are never removed.",
            "Leave --low-disk and --revision out.",
        )
    name = place.resolve().name if isinstance(place, Path) else place[0].split("/")[1]
    target = Path(options.o or f"{name}-{label}")
    disk.need_writable(target)
    from ..convert.convert import convert, refuse_old

    adapter = None
    if options.adapter:
        from ..checkpoint import adapters
        from ..model.config import load_config

        adapter = adapters.read(installed_adapters.find(options.adapter))
        if isinstance(place, Path) and load_config(place).quantization is not None:
            target = Path(options.o or f"{name}-{Path(options.adapter).name}")
            _merge(place, adapter, target, options)
            return
    refuse_old(target)
    source = _source(place, target, options.low_disk)
    if recipe is None:
        if options.low_disk:
            inform("Its files come twice: once to be measured, once to be converted.")
        recipe = _within(source, _bytes(options.budget), target)
    with _shown("Converted") as show:
        convert(source, target, recipe, show, adapter=adapter)
    installed.register(target)
    inform(f"{disk.words(installed.held(target))}, with every file's hash in {catalog.RECORD}.")
    if options.pin:
        assert source.commit is not None, "a package of the Hub has one"
        changed = pin.pin(options.source, source.commit)
        inform(f"{options.source} is pinned to {source.commit} in {changed}.")
    put(str(target))


def _merge(source: Path, adapter: "Adapter", target: Path, options: argparse.Namespace) -> None:
    if {options.recipe, options.group_size, options.mode, options.budget} != {None}:
        cause = f"{source} is quantized already; only --bits is chosen, for the changed matrices."
        raise not_understood(cause, "Leave out --recipe, --group-size, --mode and --budget.")
    from ..convert.convert import record
    from ..tune.merge import merge_quantized

    lost = merge_quantized(source, adapter, target, options.bits or 8, options.force)
    inform(f"By quantizing the changed matrices again {lost:.0%} of the change is lost.")
    made_of = installed.described(source)
    name, how = made_of.source or made_of.folder.name, {"adapter": adapter.digest}
    with disk.explained():
        record(target, name, made_of.commit or None, how, {})
    installed.register(target)
    put(str(target))


def _recipe(options: argparse.Namespace) -> tuple[recipes.Recipe | None, str]:
    """The recipe, None if it follows from a budget, and what a folder made by it is called."""
    own = [options.bits, options.group_size, options.mode]
    if options.budget is not None:
        if [options.recipe, *own] != [None] * 4:
            raise not_understood(
                "--budget already sets how many bits there are.",
                "Leave it out, or --recipe, --bits, --group-size and --mode.",
            )
        _bytes(options.budget)
        return None, options.budget.replace(" ", "")
    if own == [None, None, None]:
        package = catalog.known(options.source)
        name = options.recipe or (package and package.recipe) or recipes.DEFAULT
        return recipes.named(name), name
    if options.recipe is not None:
        raise not_understood(
            "--recipe already sets how many bits there are.",
            "Leave it out, or --bits, --group-size and --mode.",
        )
    recipe = recipes.uniform(options.bits, options.group_size, options.mode or "affine")
    assert (storage := recipe.matrices) is not None
    grid = f"{storage.bits}bit-g{storage.group_size}"
    return recipe, grid if storage.mode == "affine" else storage.mode


def _bytes(text: str) -> int:
    """7.2GB or 6900MB (powers of ten) -> bytes."""
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d+)?)\s*([MG])B\s*", text, re.IGNORECASE)
    if found is None:
        raise not_understood(f"--budget {text!r} is no size.", "Write it as --budget 7.2GB.")
    return round(float(found[1]) * {"M": 1e6, "G": 1e9}[found[2].upper()])


def _within(source: "Source", size: int, target: Path) -> recipes.Recipe:
    """A recipe for so many bytes; what was measured for it is kept until the folder is done."""
    from ..convert import budget
    from ..convert.convert import partial

    with _shown("Measured") as show:
        recipe = budget.within(source, size, partial(target) / "losses.json", show)
    assert recipe is not None and recipe.matrices is not None, "nothing cancels it"
    bits = Counter(storage.bits for storage in recipe.own.values())
    others = ", ".join(f"{count} get {n}" for n, count in sorted(bits.items()))
    inform(f"Most matrices get {recipe.matrices.bits} bits{others and '; ' + others}.")
    return recipe


def _place(source: str, revision: str | None) -> Path | tuple[str, str]:
    if source.endswith(".gguf"):
        raise Gemma4Error(
            "gguf_unsupported",
            "A GGUF file cannot be converted",
            "It holds only the text part of a model, in formats of llama.cpp that would lose more "
            "here; pictures and sound are in a second file.",
            "Start from the published checkpoint, as google/gemma-4-12B-it; of the one trained for "
            "4 bits, --recipe qat-4bit keeps what a Q4_0 file holds.",
        )
    if is_folder(folder := disk.expanded(source)):
        return folder
    if (package := catalog.known(source)) and package.path is not None:
        return package.path
    repo, usual = catalog.repository_of(source)
    if catalog.is_repository(repo):
        return repo, revision or usual
    raise Gemma4Error(
        "quantization_unknown",
        f"There is no model {source}",
        "It is neither a folder, nor a name of Package.toml, nor owner/name.",
        f"Packages: {', '.join(catalog.packages())}.",
    )


def _source(place: Path | tuple[str, str], target: Path, low_disk: bool) -> "Source":
    """Find the weights; download them where needed."""
    with readable():
        from huggingface_hub import constants

    from ..convert.convert import partial
    from ..hub import cache as hub_cache
    from ..hub import hub
    from ..hub.sources import Folder, Stream

    if isinstance(place, Path):
        return Folder(place)
    repo, revision = place
    if constants.is_offline_mode() and (folder := hub_cache.installed(repo, revision)):
        return Folder(folder, repo, folder.name)
    repository = hub.look_up(repo, revision)
    inform(f"{repo} at {repository.commit[:12]}: {repository.size / 1e9:.2f} GB.")
    if low_disk:
        line = ProgressLine()
        return Stream(
            repository,
            partial(target) / "source",
            lambda progress: line.show(f"Downloaded {progress.text}"),
        )
    with _shown("Downloaded") as show:
        downloaded = hub.download(repository, revision, show)
    assert downloaded is not None, "nothing cancels it"
    return Folder(downloaded, repo, repository.commit)


def _verify(options: argparse.Namespace) -> None:
    from ..convert.convert import verify

    record = verify(Path(options.folder))
    size = sum(file["bytes"] for file in record["files"].values())
    commit = f" at {record['commit'][:12]}" if record.get("commit") else ""
    put(
        f"{options.folder}: {len(record['files'])} files, {size / 1e9:.2f} GB, "
        f"as they were made of {record['source']}{commit}."
    )


@contextlib.contextmanager
def _shown(done: str) -> Iterator[Callable[[Progress], None]]:
    line = ProgressLine()
    yield lambda progress: line.show(f"{done} {progress.text}")
    line.clear()


CONVERT = Subcommand(
    "convert",
    "make a model folder with fewer bits",
    "Make a model folder with fewer bits of a published checkpoint. A run that was cut goes on "
    "where it was when it is started again.",
    CONVERT_OPTIONS,
    _convert,
)
VERIFY = Subcommand(
    "verify",
    "check a converted folder",
    "Check the size and hash of every file of a folder that `gemma4 convert` has made.",
    (Option("folder", None, "FOLDER", required=True),),
    _verify,
)
