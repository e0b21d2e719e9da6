"""The options of the command line as data: --help and docs/cli.md are made from them."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        metavar: what stands for its value; empty where the option takes none.
        many: whether it takes several values and may be repeated.
    """

    flag: str
    help: str
    metavar: str = ""
    type: Callable[[str], object] = str
    choices: tuple[int, ...] | None = None
    default: object = None
    many: bool = False

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Declare it."""
        if not self.metavar:
            parser.add_argument(self.flag, help=self.help, action="store_true")
            return
        parser.add_argument(
            self.flag,
            help=self.help,
            metavar=self.metavar,
            type=self.type,
            choices=self.choices,
            default=[] if self.many else self.default,
            nargs="+" if self.many else None,
            action="extend" if self.many else "store",
        )
