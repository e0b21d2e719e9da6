"""Opens the terminal program, which the library does not know: in a clone it is `app`."""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from ..hub import catalog

if TYPE_CHECKING:
    from ..cluster.hosts import Hosts


def part(name: str) -> Any:
    package = "gemma4_app" if importlib.util.find_spec("gemma4_app") else "app"
    return importlib.import_module(f"{package}.{name}")


def open_program(
    model: str | None = None, plain: bool = False, hosts: "Hosts | None" = None
) -> int:
    """Run the program, or raise Gemma4Error: the model is not on this machine."""
    if model is not None:
        catalog.resolve(model)
    more = () if plain else (_shared_server,)
    return int(part("plain" if plain else "main").main(model, hosts, *more))


def _shared_server(*given: Any) -> Any:
    """Make the server that the program opens on its own worker."""
    from ..serve.shared import SharedServer

    return SharedServer(*given)
