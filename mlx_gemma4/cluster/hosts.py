"""Which computers a model is spread over, as plain data, and what each reports of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
# no option of ssh's, and nothing that a shell in its configuration (Match exec) would run
_USABLE = re.compile(r"(ssh://)?(\w[\w.+~-]*@)?\w[\w.-]*(?(1)(:\d{1,5})?)")


@dataclass(frozen=True)
class Hosts:
    """What `--hosts` and the options beside it ask for.

    Attributes:
        names: the computers that hold the other layers, in the order of the layers: what ssh calls
            them, or "local".
        cut: the layers before which the model is cut; empty: chosen by memory and speed.
        keep: whether they keep the layers that are sent to them.
        folder: a model folder there, whose layers need not be sent where they are equal.
        command: how `gemma4` is started there; None: it is looked for.
        patience: seconds without a sign of life after which a computer counts as frozen.
    """

    names: tuple[str, ...]
    cut: tuple[int, ...] = ()
    keep: bool = False
    folder: str | None = None
    command: str | None = None
    patience: float = 5.0

    def __post_init__(self) -> None:
        check_names(self.names)
        if len(self.names) > MOST:
            raise unusable(f"They are {len(self.names)}.", f"Name at most {MOST}.")

    @classmethod
    def read(cls, text: str, **others: Any) -> Hosts:
        """Read names that are separated by commas."""
        return cls(tuple(name.strip() for name in text.split(",")), **others)


@dataclass(frozen=True)
class Sending:
    """A model is being loaded, and layers are on their way to another computer.

    Attributes:
        host: which.
        done: bytes that it has.
        total: bytes that it lacked.
    """

    host: str
    done: int
    total: int

    @property
    def brief(self) -> str:
        """For a line on top: sending to mac2.local, 41 %."""
        return f"sending to {self.host}, {100 * self.done // max(self.total, 1)} %"

    @property
    def words(self) -> str:
        megabytes = f"{self.done / 1e6:,.1f} of {self.total / 1e6:,.1f} MB"
        return f"Sending layers to {self.host}: {megabytes}"


@dataclass(frozen=True)
class Facts:
    """What a worker reports of itself before anything else.

    Attributes:
        protocol: of the control line.
        version: of this package.
        mlx: the version of MLX.
        system: the operating system and its build.
        machine: what a model may take there.
        address: where it listens while the ring connects.
        leader: the address under which it sees the leader.
        link: the network interface of that address.
        firewall: whether the system's firewall is on; empty where that is not known.
        speed: bytes of weights that it reads in a second, as measured.
        taken: which other programs hold a model there, in words; empty for none.
    """

    protocol: int
    version: str
    mlx: str
    system: str
    machine: Machine
    address: str
    leader: str
    link: str
    firewall: str
    speed: float
    taken: str

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Facts:
        return cls(**{**value, "machine": Machine(**value["machine"])})


def check_names(names: Sequence[str]) -> None:
    """Refuse what are no names of computers, as ssh takes them.

    Raises:
        Gemma4Error: one is no name, or cannot be used here, or a computer is named twice.
    """
    for name in names:
        _check_name(name)
    others = [_machine(name) for name in names if name != LOCAL]
    for number, name in enumerate(others):
        if name in others[:number]:
            raise unusable(f"{name} is named twice.", "Name each computer once.")


def _check_name(name: str) -> None:
    if _USABLE.fullmatch(name):
        return
    if name.count(":") > 1 and not name.startswith("ssh:"):
        raise unusable(
            f"{name} is an IPv6 address, and the computers reach each other over IPv4.",
            "Use its name, or its IPv4 address.",
        )
    if re.fullmatch(r"[^:/]+:\d+", name):
        raise unusable(f"{name} has a port.", f"Write ssh://{name}, or set it in ~/.ssh/config.")
    raise unusable(
        f"{name!r} is no name of a computer." if name else "One of the names is empty.",
        "Name them as ssh knows them: mac2.local, or mac2.local,mac3.local.",
    )


def _machine(name: str) -> str:
    """A name without its user, as another user's is the same computer."""
    return re.sub(r"^(ssh://)?([^@]*@)?", "", name).lower().rstrip(".")


def read_cut(text: str | None) -> tuple[int, ...]:
    """Read layers that are separated by commas.

    Raises:
        Gemma4Error: they are not numbers.
    """
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise Gemma4Error(
            "usage",
            "The cut is not understood",
            f"{text!r} has what is no number.",
            "Write it as --cut 24.",
        ) from None


def unusable(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("usage", "The hosts are not understood", cause, remedy)
