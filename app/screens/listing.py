"""A page with a list: it is filled anew when something has changed, and the place in it stays."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..workspace import Workspace
from .page import PageScreen

One = TypeVar("One")


class Listing(PageScreen, Generic[One]):
    """A page whose content has one `OptionList`.

    Args:
        workspace: what all screens share.

    Attributes:
        listed: what the list shows, in order.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.listed: Sequence[One] = ()

    def fill(self, listed: Sequence[One], line: Callable[[One], Content]) -> None:
        """Show these, each as a line."""
        options = self.query_one(OptionList)
        place = options.highlighted or 0
        self.listed = listed
        options.clear_options()
        options.add_options(Option(line(one)) for one in listed)
        if listed:
            options.highlighted = min(place, len(listed) - 1)

    def remark(self, words: str) -> None:
        """Write something below the list."""
        self.query_one("#progress", Static).update(words)

    @property
    def chosen(self) -> One | None:
        """The one that is highlighted; None where there is none."""
        place = self.query_one(OptionList).highlighted
        return self.listed[place] if place is not None and place < len(self.listed) else None
