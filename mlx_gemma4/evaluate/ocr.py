"""How small may print be, and what does a larger image budget buy?

Pages are rendered from real text, or are the user's own, and each is asked about at every image
budget of the model. A page's size after resizing follows from the budget, so the same print is met
at five heights; `height` is that of its small x, in pixels after resizing. A recognizer reads each
page once, as large as it was drawn.

24 pages of each of four sets are 720 answers, two in three of them a page of 190 tokens on average:
about an hour where 300 tokens a second are read and 36 written (an M3 Max with the 12B at 4 bits).
`--limit 6` takes a quarter of that.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import Gemma4Error
from ..media import images
from . import scores
from .baselines.rival import Rival
from .pages import columns, receipts, screens, small_world, tables
from .pages import folder as own
from .pages.page import LINES, Maker, Page, Request
from .parts import Part
from .question import Asked, Choice, Fact, Item, Row, Subject
from .questions import NAMES
from .reports import ocr as told

PAGES = 24
"""Pages of each set, and receipts of each kind of the tiny model's, unless a limit is given."""
_MAKERS: Mapping[str, Maker] = {
    "tiny": small_world.make,
    "receipts": receipts.make,
    "tables": tables.make,
    "screens": screens.make,
    "columns": columns.make,
}
_QUOTES = str.maketrans("‘’“”–—−", "''\"\"---")
_FENCE = re.compile(r"^\s*```\w*\s*$", re.M)
_TABLE_RULE = re.compile(r"^\s*\|?(\s*:?-{2,}:?\s*\|)+(\s*:?-{2,}:?\s*)?$", re.M)
_TABLE_ROW = re.compile(r"^\s*\|(.*)\|\s*$", re.M)


def same(text: str) -> str:
    """A text as it is compared: characters count, and how they are set does not.

    Runs of white space are one space, typographic quotes and dashes the typewriter's, ligatures
    their letters (NFKC); the frame of a Markdown table and fences of code are taken off.
    """
    text = _TABLE_RULE.sub("", _FENCE.sub("", text))
    text = _TABLE_ROW.sub(lambda row: row[1].replace("|", " "), text)
    return scores.plain(unicodedata.normalize("NFKC", text).translate(_QUOTES))


def same_value(text: str) -> str:
    """A short answer as it is compared: what stands around it is taken off too."""
    return same(text).strip(" \"'`*.$€£")


def normalizer(kind: object) -> Callable[[str], str]:
    """How answers of a kind are compared."""
    return same if kind == LINES else same_value


class Ocr:
    """Reads pages at every image budget."""

    name = "ocr"
    about = NAMES["ocr"]
    sets: Mapping[str, str] = {
        "tiny": "receipts that the tiny model knows, held out from its training",
        "receipts": "receipts in many fonts on a table",
        "tables": "dense tables, ruled, striped, bare and dark",
        "screens": "small print on screens: terminal, editor, web; light and dark",
        "columns": "pages of two or three columns",
        "folder": "your own pictures with answers (--folder)",
    }
    needs = frozenset({"image"})

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List what is asked, page by page, so that an unfinished run has something of each set."""
        usual = ("tiny",) if choice.tiny else ("receipts", "tables", "screens", "columns")
        sets = choice.sets or (("folder",) if choice.folder else usual)
        found = []
        for number in range(choice.limit or PAGES):
            for name in sets:
                if name != "folder":
                    found += list(_made(name, choice.seed, number, subject))
        if "folder" in sets:
            found += _own(choice, subject)
        return found

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Ask, and compare the answer."""
        assert item.make is not None
        asked = item.make()
        given = subject.answer(asked)
        return scores.score(asked.wanted, given, normalizer(item.facts["kind"]))

    def report(self, rows: Sequence[Row], choice: Choice) -> Sequence[Part]:
        """Errors by budget and by the height of print; recognizers on the same pages."""
        return told.report(rows, normalizer)


def budgets(name: str, subject: Subject) -> Sequence[int | None]:
    """The image budgets at which a set is asked; (None,) for a rival that has none."""
    if isinstance(subject, Rival) and not subject.budgets:
        return (None,)
    if name == "tiny":
        return small_world.BUDGETS
    package = getattr(subject, "package", None)
    return package.image_tokens if package and package.image_tokens else images.BUDGETS


def _made(name: str, seed: int, number: int, subject: Subject) -> Iterator[Item]:
    """The items of the pages of one number: a page is drawn to name it, and again to be shown."""
    make = _MAKERS[name]
    for place, page in enumerate(make(seed, number)):

        def again(place: int = place) -> Page:
            return make(seed, number)[place]

        yield from _items(name, f"{name}-{seed}-{number:04d}-{page.digest}", page, again, subject)


def _own(choice: Choice, subject: Subject) -> list[Item]:
    if choice.folder is None:
        raise Gemma4Error(
            "folder_empty",
            "There are no pictures of yours",
            "The set folder was asked for without a folder.",
            "Give one with --folder; docs/evaluate.md says what has to be in it.",
        )
    found: list[Item] = []
    for entry in own.read(choice.folder)[: choice.limit]:
        page = entry.page()
        found += _items("folder", f"folder-{page.digest}", page, entry.page, subject)
    return found


def _items(
    name: str, id_: str, page: Page, again: Callable[[], Page], subject: Subject
) -> Iterator[Item]:
    """What is asked about a page; `again` makes it anew, since all together would fill memory."""
    for place, request in enumerate(page.requests):
        if isinstance(subject, Rival) and not subject.known.instructed and request.kind != LINES:
            continue  # a recognizer cannot be asked for one thing
        for budget in budgets(name, subject):
            facts: dict[str, Fact] = {"set": name, "kind": request.kind, "page": id_, **page.facts}
            if request.about:
                facts["about"] = request.about
            if budget is not None:
                facts["budget"] = budget
                facts |= _height(page, budget)

            def make(place: int = place, budget: int | None = budget) -> Asked:
                shown = again()
                return _asked(shown, shown.requests[place], budget)

            ending = "" if budget is None else f"-{budget}"
            yield Item(f"{id_}-{request.kind}{ending}", facts, make)


def _height(page: Page, budget: int) -> dict[str, Fact]:
    """Height of the small x after resizing to a budget, in pixels."""
    if page.x_height is None:
        return {}
    height, _ = images.resized_size(page.image.height, page.image.width, budget)
    return {"height": round(page.x_height * height / page.image.height, 2)}


def _asked(page: Page, request: Request, budget: int | None) -> Asked:
    return Asked(
        request.answer,
        request.text,
        (page.image,),
        image_tokens=budget,
        # a character is at most a token, digits are one each; a loop ends there
        most=len(request.answer) + 64,
        layout=page.layout,
    )


QUESTION = Ocr()
