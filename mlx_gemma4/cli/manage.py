"""`gemma4 models`: which models are on this machine, and how one is removed."""

import argparse
import json
import shlex
from collections.abc import Mapping

from ..errors import Gemma4Error
from ..hub import catalog, installed
from ..hub.disk import words
from .options import Option, Subcommand, not_understood
from .streams import agreed, inform, put


def _list(options: argparse.Namespace) -> None:
    models, partials = installed.present(), installed.partials()
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
        made = f", {model.source}" if model.source not in ("", model.name) else ""
        made += f" as {model.recipe}" if model.recipe else ""
        mark = ", opened by `gemma4` alone" if model.folder.resolve() == folder else ""
        put(f"{model.name}  {words(model.nbytes)}{made}{mark}\n    {model.folder}")
    for work in partials:
        state, came = installed.state(work), words(installed.held(work))
        if name := str(state.get("name") or ""):
            put(f"{name}  not complete, {came} so far; `{_resumed(name, state)}` goes on")
    if not models and not partials:
        inform(f"None besides it. `gemma4 get` brings {catalog.USUAL}.")


def _resumed(name: str, state: Mapping[str, str]) -> str:
    usual = catalog.repository_of(name)[1]
    command = ["gemma4", "get", name]
    if recipe := state.get("recipe"):
        command += ["--recipe", str(recipe)]
    if (revision := str(state.get("revision") or usual)) != usual:
        command += ["--revision", revision]
    return shlex.join(command)


def _remove(options: argparse.Namespace) -> None:
    wanted = options.model
    package = catalog.known(wanted)
    names = {wanted, *((package.name, package.repo) if package else ())}
    models = installed.present()
    exact = [m for m in models if m.name == wanted]
    found = exact or [m for m in models if m.source in names]
    if len(found) > 1:
        one = f"Name one of them: {', '.join(m.name for m in found)}."
        raise not_understood(f"{len(found)} models were made of {wanted}.", one)
    unfinished = [name for name in installed.unfinished() if name in names and not exact]
    if not found and not unfinished:
        listed = ", ".join([m.name for m in models] + list(installed.unfinished())) or "none"
        raise Gemma4Error(
            "model_missing",
            f"There is no {wanted} to remove",
            "It is not among the models that were brought to this machine.",
            f"Those are: {listed}.",
        )
    for model in found:
        shared = " (other programs use this cache, too)" if model.is_shared else ""
        if options.yes or agreed(f"Remove {model.folder}, {words(model.nbytes)}{shared}?", False):
            put(f"{model.name} is removed: {words(installed.remove(model))} are free again.")
            if model.is_shared and (store := model.folder.parents[1]).exists():
                inform(f"Other revisions stay in {store}.")
            elif model.folder.exists():
                inform(f"What is not the model's stays in {model.folder}.")
    for name in unfinished:
        came = words(installed.unfinished()[name])
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
