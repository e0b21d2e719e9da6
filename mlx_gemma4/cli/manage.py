"""`gemma4 models`: which models are on this machine, and how one is removed."""

import argparse
import json

from ..errors import Gemma4Error
from ..hub import catalog, installed
from ..hub.installed import InstalledModel
from .options import Option, Subcommand, not_understood
from .streams import agreed, inform, put, size


def present() -> list[InstalledModel]:
    """The models that are here: made, downloaded, and in the Hub's cache; each once."""
    found = list(installed.made())
    folders = {model.folder.resolve() for model in found}
    return found + [m for m in installed.downloaded() if m.folder.resolve() not in folders]


def _list(options: argparse.Namespace) -> None:
    models, unfinished = present(), installed.unfinished()
    if options.json:
        rows = [
            {"name": m.name, "source": m.source, "recipe": m.recipe, "folder": str(m.folder)}
            | {"bytes": m.nbytes}
            for m in models
        ]
        put(json.dumps(rows, ensure_ascii=False))
        return
    usual = catalog.default()
    package = catalog.packages().get(usual)
    folder = catalog.resolve(usual).resolve() if package else None
    put(f"{catalog.DEMONSTRATION}  comes with the program")
    for model in models:
        made = ""
        if model.source != model.name:
            made = f", {model.source} as {model.recipe or 'it is'}"
        mark = ", opened by `gemma4` alone" if model.folder.resolve() == folder else ""
        put(f"{model.name}  {size(model.nbytes)}{made}{mark}\n    {model.folder}")
    for name, count in unfinished.items():
        put(f"{name}  not complete, {size(count)} so far; `gemma4 get {name}` goes on")
    if not models and not unfinished:
        inform(f"None besides it. `gemma4 get` brings {catalog.USUAL}.")


def _remove(options: argparse.Namespace) -> None:
    wanted = options.model
    package = catalog.known(wanted)
    names = {wanted, package.name if package else wanted, (package and package.repo) or wanted}
    exact = [m for m in present() if m.name == wanted]
    found = exact or [m for m in present() if m.source in names]
    if len(found) > 1:
        one = f"Name one of them: {', '.join(m.name for m in found)}."
        raise not_understood(f"{len(found)} models were made of {wanted}.", one)
    unfinished = [name for name in installed.unfinished() if name in names and not exact]
    if not found and not unfinished:
        listed = ", ".join([m.name for m in present()] + list(installed.unfinished())) or "none"
        raise Gemma4Error(
            "model_missing",
            f"There is no {wanted} to remove",
            "It is not among the models that were brought to this machine.",
            f"Those are: {listed}.",
        )
    for model in found:
        shared = " (other programs use this cache, too)" if model.recipe == "" else ""
        if options.yes or agreed(f"Remove {model.folder}, {size(model.nbytes)}{shared}?", False):
            freed = model.nbytes
            installed.remove(model)
            put(f"{model.name} is removed: {size(freed)} are free again.")
            if model.folder.exists():
                inform(f"What is not the model's stays in {model.folder}.")
    for name in unfinished:
        came = size(installed.unfinished()[name])
        if options.yes or agreed(f"Remove {came} that came of {name} so far?", False):
            installed.discard_unfinished(name)
            put(f"What came of {name} is removed: {came} are free again.")


REMOVE = Subcommand(
    "remove",
    "remove one, and what came of a download that is not complete",
    "Remove a model from the disk. Asks first.",
    (
        Option("model", "as `gemma4 models` lists it", "NAME", required=True),
        Option("--yes", "remove it without asking"),
    ),
    _remove,
)
COMMAND = Subcommand(
    "models",
    "list or remove the models on this machine",
    "List the models on this machine, and what they take on the disk; "
    "`gemma4 models remove NAME` frees that.",
    (Option("--json", "print one JSON list"),),
    _list,
    REMOVE,
)
