"""Gemma 4 12B on MLX: text, pictures and sound in one decoder.

    import mlx_gemma4 as g4

    model = g4.load("google/gemma-4-12B-it")
    print(g4.generate(model, "What is the total?", images=["receipt.png"]))

    session = g4.Session(model)
    session.add_image("receipt.png")
    session.add_text("What is the total?")
    for event in session.reply():
        if isinstance(event, g4.Token):
            print(event.text, end="")

Importing this package imports none of its modules, and not MLX: a name is loaded when it is used.
"""

from collections.abc import Callable as _Callable
from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

__version__ = "0.2.0"

if _TYPE_CHECKING:
    import mlx.core as mx

    from .cluster.hosts import Hosts as Hosts
    from .errors import Gemma4Error as Gemma4Error
    from .events import ContextLow as ContextLow
    from .events import Done as Done
    from .events import Dropped as Dropped
    from .events import Event as Event
    from .events import Heard as Heard
    from .events import Moved as Moved
    from .events import Thought as Thought
    from .events import Token as Token
    from .events import ToolCall as ToolCall
    from .model.attention import MaskRule
    from .model.gemma4 import Gemma4 as Gemma4
    from .session.generate import generate as generate
    from .session.generate import stream_generate as stream_generate
    from .session.session import Session as Session

_HOMES = {
    "ContextLow": "events",
    "Done": "events",
    "Dropped": "events",
    "Event": "events",
    "Gemma4": "model.gemma4",
    "Gemma4Error": "errors",
    "Heard": "events",
    "Hosts": "cluster.hosts",
    "Moved": "events",
    "Session": "session.session",
    "Thought": "events",
    "Token": "events",
    "ToolCall": "events",
    "generate": "session.generate",
    "stream_generate": "session.generate",
}

__all__ = ["load", *_HOMES]


def load(
    folder_or_name: str | _Path,
    adapter: str | _Path | None = None,
    dtype: "mx.Dtype | str | None" = None,
    mask_rule: "MaskRule" = "official",
    force: bool = False,
    download: bool = False,
    hosts: "Hosts | None" = None,
    progress: "_Callable[[str, int, int], object]" = lambda host, done, total: None,
    drafter: str | _Path | None = None,
    draft: str | int | None = None,
) -> "Gemma4":
    """Load a model.

    Args:
        folder_or_name: a model folder, or a name: of Package.toml, `owner/name` on the Hub, or of
            a folder that `gemma4 get` made. Of the folders made of one repository it is that with
            the recommended recipe, else the newest. MODEL:ADAPTER is both.
        adapter: what `gemma4 tune` has made: its folder, or the name under which it is installed.
        dtype: of the activations and of weights that are not quantized: "float32", "bfloat16",
            "float16" or MLX's own. None is the checkpoint's, on the CPU float32.
        mask_rule: "official", or "forward" to agree with transformers' `forward` (`attention`).
        force: load it even if it does not fit into the memory (`gemma4 fit`).
        download: get it from the Hub where it is not on this machine.
        hosts: other computers that hold a part of its layers (docs/several-macs.md).
        progress: called with a host, and how many of its bytes were sent, of how many.
        drafter: the folder or name of a drafter that proposes tokens for it (`Session(draft=)`).
        draft: what sessions take that choose none (`Session(draft=)`), as `model.draft`; and get
            the drafter that it needs; "auto" becomes what `gemma4 bench --draft` measured to pay
            on this machine.

    Raises:
        Gemma4Error: there is no such model, it cannot be loaded, or it does not fit. Code
            "model_missing": it is not on this machine; `facts` has the "command" that gets it
            and, where that is known, its "bytes".
    """
    from .checkpoint import adapted, adapters
    from .checkpoint.load import as_dtype, load_folder
    from .errors import Gemma4Error
    from .footprint import held
    from .footprint.device import check_fits
    from .hub import catalog, installed_adapters, speculation
    from .model.attention import check_rule

    check_rule(mask_rule)
    wanted = as_dtype(dtype)
    folder_or_name, named = installed_adapters.split(folder_or_name)
    chosen = adapter or named
    change = None if chosen is None else adapters.read(installed_adapters.find(chosen))
    if change is not None and hosts is not None:
        raise adapters.unusable(
            "Other computers hold a part of the layers.", "Merge it: `gemma4 convert --adapter`."
        )
    try:
        folder = catalog.resolve(folder_or_name)
    except Gemma4Error as error:
        if not download or error.code != "model_missing":
            raise
        folder = _downloaded(str(folder_or_name), force)
    proposes = None if drafter is None else catalog.resolve(drafter, "drafter")
    setting: str | int = "off"
    if draft is not None:
        proposes, setting = speculation.choose(folder, draft, proposes, hosts is None)

    def check(config: _Any, tensors: _Any) -> None:
        check_fits(str(folder), config, tensors, force, proposes)

    try:
        if hosts is not None:
            from .cluster.spread import load_spread

            model: Gemma4 = load_spread(
                folder, hosts, wanted, mask_rule, force, progress, drafter=proposes
            )
        else:
            model = load_folder(folder, wanted, check=check)
            model.mask_rule = mask_rule
        model.folder = folder
        model.package = catalog.package_of(folder)
        if change is not None:
            adapted.attach(model, change)
        model.draft = setting
        if proposes is not None:
            from .checkpoint.drafter import load_drafter

            model.attach(load_drafter(proposes, model, wanted))
    except BaseException:
        held.release()
        raise
    return model


def _downloaded(name: str, force: bool) -> _Path:
    """Get a model from the Hub into its cache, unless it would not fit; return its folder."""
    from .footprint import device, summary
    from .hub import catalog, hub

    if not force:
        summary.of(name).check(device.this())
    repo, revision = catalog.repository_of(name)
    folder = hub.download(hub.look_up(repo, revision), revision)
    assert folder is not None, "nothing here cancels it"
    return folder


def exchange_adapter(model: "Gemma4", name: str | _Path) -> bool:
    """Put the adapter of MODEL:ADAPTER, or none, on a model that is loaded.

    Returns:
        Whether it is that MODEL; if not, it is as it was. Caches of it must not be used again.

    Raises:
        Gemma4Error: there is no such model or adapter, or the two do not fit.
    """
    from .checkpoint import adapted, adapters
    from .hub import catalog, installed_adapters

    base, adapter = installed_adapters.split(name)
    if catalog.resolve(base) != model.folder:
        return False
    if adapter is None:
        adapted.detach(model)
    else:
        adapted.attach(model, adapters.read(installed_adapters.find(adapter)))
    return True


def __getattr__(name: str) -> _Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
