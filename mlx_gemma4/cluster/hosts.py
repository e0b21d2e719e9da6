"""Which computers a model is spread over, as plain data, and what each reports of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import Gemma4Error
from ..footprint.estimate import Machine

LOST = "host_lost"
"""The code of the error after which a process cannot use its workers any more."""
HOST_CODES = (
    LOST,
    "host_asks_password",
    "host_key_unknown",
    "host_unreachable",
    "host_version",
    "host_without_gemma4",
    "ring_stranger",
    "ring_unreachable",
)
"""The codes of errors after which it helps to look at the other computer, and to try again."""
LOCAL = "local"
"""A worker on this computer, for trying it out."""
MOST = 2
"""Workers that a leader can have: each must be its neighbour in the ring."""


@dataclass(frozen=True)
class Hosts:
    """What `--hosts` and the options beside it ask for.

    Attributes:
        names: the computers that hold the other layers, in the order of the layers: what ssh calls
            them, or "local".
        cut: the layers before which the model is cut; empty: chosen by memory and speed.
        keep: whether they keep the layers that are sent to them.
        command: how `gemma4` is started there; None: it is looked for.
        patience: seconds without a sign of life after which a computer counts as frozen.
    """

    names: tuple[str, ...]
    cut: tuple[int, ...] = ()
    keep: bool = False
    command: str | None = None
    patience: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < len(self.names) <= MOST or not all(usable(name) for name in self.names):
            raise Gemma4Error(
                "usage",
                "The hosts are not understood",
                f"They are {', '.join(self.names) or 'none'}.",
                f"Name one or {MOST} as ssh knows them: --hosts mac2.local,mac3.local.",
            )

    @classmethod
    def read(cls, text: str, **others: Any) -> Hosts:
        """Read names that are separated by commas."""
        return cls(tuple(name.strip() for name in text.split(",")), **others)


@dataclass(frozen=True)
class Facts:
    """What a worker reports of itself before anything else.

    Attributes:
        protocol: of the control line.
        version: of this package.
        mlx: the version of MLX.
        system: the operating system and its build.
        machine: what a model may take there.
        address: where it listens while the ring connects, and `port`.
        leader: the address under which it sees the leader.
        link: the network interface of that address.
        firewall: whether the system's firewall is on; empty where that is not known.
        speed: bytes of weights that it reads in a second, as measured.
    """

    protocol: int
    version: str
    mlx: str
    system: str
    machine: Machine
    address: str
    port: int
    leader: str
    link: str
    firewall: str
    speed: float

    def json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Facts:
        """Read what travelled."""
        return cls(**{**value, "machine": Machine(**value["machine"])})


def usable(name: str) -> bool:
    """Whether a name cannot be taken for an option of ssh's."""
    return bool(name) and not name.startswith("-") and name.isprintable() and " " not in name
