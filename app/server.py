"""The server that lets other programs use this program's worker. Knows nothing of Textual."""

from collections.abc import Callable, Sequence
from typing import Protocol

from mlx_gemma4.runtime.client import Client
from mlx_gemma4.runtime.commands import SessionSettings
from mlx_gemma4.runtime.reports import Report


class OpenServer(Protocol):
    """A server that listens: `serve.shared.SharedServer` of the library."""

    address: str
    take: Callable[[Sequence[Report]], list[Report]]
    """Take the reports that are for it; return the others."""

    def close(self) -> None:
        """End it."""


MakeServer = Callable[[Client, str, SessionSettings, int], OpenServer]
"""Makes one: of the worker, the model's name, settings, and the port."""
