"""How small may print be, and what does a larger image budget buy?

Pages are rendered from real text, or are the user's own, and each is asked about at every image
budget of the model. A page's size after resizing follows from the budget, so the same print is met
at five heights; `height` is that of its small x, in pixels after resizing. A recognizer reads each
page once, as large as it was drawn.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from statistics import fmean
from typing import Any

from ..media import images
from . import scores
from .pages import folder as own
from .pages import invented, texts
from .pages.page import LINES, Maker, Page
from .question import Asked, Choice, Item, Part, Plot, Row, Subject, Table, Words

PAGES = 24
"""Pages of each set, and receipts of each kind of the tiny model's, unless a limit is set."""
_MAKERS: Mapping[str, Maker] = {
    "tiny": invented.small_receipts,
    "receipts": invented.receipts,
    "tables": invented.tables,
    "screens": texts.screens,
    "columns": texts.columns,
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
    """A short answer as it is compared: what is around it is taken off too."""
    return same(text).strip(" \"'`*.$€£")


def normalizer(kind: object) -> Callable[[str], str]:
    return same if kind == LINES else same_value


class Ocr:
    name = "ocr"
    sets = (*_MAKERS, "folder")
    needs = frozenset({"image"})

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List what is asked, page by page, so that an unfinished run has something of each set."""
        usual = ("tiny",) if choice.tiny else ("receipts", "tables", "screens", "columns")
        sets = choice.sets or (("folder",) if choice.folder else usual)
        found: list[Item] = []
        for number in range(choice.limit or PAGES):
            for name in sets:
                if name != "folder":
                    found += _made(name, choice.seed, number, subject)
        if "folder" in sets:
            for again in own.read(choice.own("pictures"))[: choice.limit]:
                page = again()
                found += _items("folder", f"folder-{page.digest}", page, again, subject)
        return found

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        asked = item.make()
        given = subject.answer(asked)
        return scores.score(asked.wanted, given, normalizer(item.facts["kind"]))

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        """Errors by budget and by the height of print; recognizers on the same pages."""
        parts: list[Part] = [Words("", _METHOD)]
        for number, (subject, of) in enumerate(scores.by_subject(rows).items()):
            for (name,), group in scores.groups(of, "set").items():
                parts += [Words(f"The set {name}, read by {subject}"), _by_budget(group)]
                parts += _by_height(group, f"{name}-{number}", f"{name}, {subject}")
            parts += [*_over_budget(of, number, subject), _seconds(of)]
        if compared := _beside(rows):
            parts += [Words("The same pages, transcribed", _BESIDE), *compared]
        ours = [row for row in rows if "budget" in row.facts]
        title = "Exact answers, each subject less another, on the same items"
        if table := scores.differences(ours, title, lambda measured: measured["exact"]):
            parts += [Words("Differences"), table]
        return parts


def budgets(name: str, subject: Subject) -> Sequence[int | None]:
    """The image budgets at which a set is asked; (None,) for a rival that has none."""
    if not getattr(subject, "budgets", True):
        return (None,)
    if name == "tiny":
        return invented.SMALL_BUDGETS
    package = getattr(subject, "package", None)
    return package.image_tokens if package and package.image_tokens else images.BUDGETS


def _made(name: str, seed: int, number: int, subject: Subject) -> Iterator[Item]:
    """The items of the pages of one number: a page is drawn to name it, and again to be shown."""
    make = _MAKERS[name]
    for place, page in enumerate(make(seed, number)):
        again = partial(lambda place: make(seed, number)[place], place)
        yield from _items(name, f"{name}-{seed}-{number:04d}-{page.digest}", page, again, subject)


def _items(
    name: str, id_: str, page: Page, again: Callable[[], Page], subject: Subject
) -> Iterator[Item]:
    """What is asked about a page; `again` makes it again, since all together would fill memory."""
    for place, request in enumerate(page.requests):
        if "text" not in subject.takes and request.kind != LINES:
            continue  # a recognizer cannot be asked for one thing
        for budget in budgets(name, subject):
            facts = {"set": name, "kind": request.kind, "page": id_, **page.facts}
            if request.about:
                facts["about"] = request.about
            if budget is not None:
                facts["budget"] = budget
                if page.x_height is not None:
                    height, _ = images.resized_size(page.image.height, page.image.width, budget)
                    facts["height"] = round(page.x_height * height / page.image.height, 2)
            ending = "" if budget is None else f"-{budget}"
            make = partial(_asked, again, place, budget)
            yield Item(f"{id_}-{request.kind}{ending}", facts, make)


def _asked(again: Callable[[], Page], place: int, budget: int | None) -> Asked:
    page = again()
    request = page.requests[place]
    return Asked(
        request.answer,
        request.text,
        (page.image,),
        image_tokens=budget,
        # a character is at most a token, digits are one each; a loop ends there
        most=len(request.answer) + 64,
        layout=page.layout,
    )


EDGES = (0.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0, float("inf"))
"""Bins of x-height in pixels: narrow where print starts to be readable."""
_FEW = 2  # heights that are no curve: the tiny model's receipts have one at each budget
_WHOLE = "as drawn"
_METHOD = (
    "`lines` are whole pages, transcribed: `CER` is the character error rate, edits over "
    "characters of the right text. Other kinds ask for one thing on a page. `exact` is the share "
    "of answers without any error. `chance` is what the same answers score beside the right "
    "answers of other items. White space, typographic quotes and Markdown around an answer do not "
    "count. An x-height is that of the body text's small x, in pixels after the picture was "
    "resized to the budget."
)
_BESIDE = (
    "A model gets each picture resized to its budget; a rival (marked `as drawn`) sees it in "
    "its full size. A recognizer knows whether the page is one block or has columns, and cannot "
    "be asked for one thing on it, so that only whole pages are compared."
)


def _by_budget(rows: Sequence[Row]) -> Table:
    lines = []
    for (kind,), of_kind in scores.groups(rows, "kind").items():
        for budget, group in _budgets(of_kind):
            mixed = scores.shuffled(group, normalizer(kind))
            chance = f"{scores.accuracy(mixed).value:.3f}" if mixed else ""
            errors = ["", ""]
            if kind == LINES:
                errors[0] = f"{scores.character_error_rate(group)}"
                errors[1] = f"{scores.character_error_rate(mixed).value:.2f}" if mixed else ""
            exact = f"{scores.accuracy(group)}"
            lines.append([str(kind), budget, str(len(group)), exact, chance, *errors])
    heads = ["kind", "budget", "n", "exact", "chance", "CER", "CER by chance"]
    return Table("By image budget, in tokens", heads, lines)


def _by_height(rows: Sequence[Row], file: str, title: str) -> list[Part]:
    """A table by height, and errors over height with a line for each budget."""
    known = [row for row in rows if "height" in row.facts]
    if not known:
        return []
    lines = []
    for low, high, inside in _bins(known):
        pages, values = _lines(inside), [row for row in inside if row.facts["kind"] != LINES]
        reach = f"{low:g} to {high:g}" if high < EDGES[-1] else f"{low:g} and more"
        errors = [scores.character_error_rate(pages), scores.accuracy(pages)] if pages else ["", ""]
        exact = f"{scores.accuracy(values)}" if values else ""
        lines.append([reach, str(len(pages)), *map(format, errors), str(len(values)), exact])
    heads = ["x-height, px", "n, lines", "CER, lines", "exact, lines", "n, others", "exact, others"]
    table = Table("By x-height after resizing, at all budgets together", heads, lines)
    curves = {}
    for (budget,), group in sorted(scores.groups(_lines(known), "budget").items()):
        curves[f"{budget} tokens"] = [
            (fmean(row.facts["height"] for row in inside), scores.character_error_rate(inside))
            for _, _, inside in _bins(group)
        ]
    if len({x for curve in curves.values() for x, _ in curve}) <= _FEW:
        return [table]
    axes = ("x-height after resizing in pixels", "character error rate")
    return [table, Plot(f"errors-{file}", f"Characters read wrongly: {title}", *axes, curves)]


def _bins(rows: Sequence[Row]) -> Iterator[tuple[float, float, list[Row]]]:
    """Ends of each bin of heights in which there are rows, and these."""
    for low, high in pairwise(EDGES):
        if inside := [row for row in rows if low <= row.facts["height"] < high]:
            yield low, high, inside


def _over_budget(rows: Sequence[Row], number: int, subject: str) -> list[Part]:
    """What more tokens buy: exact answers of each kind, and errors of whole pages."""
    if len(scores.groups(rows, "budget")) < 2:
        return []
    several = len(scores.groups(rows, "set")) > 1
    exact, errors = {}, {}
    for (name, kind), group in scores.groups(rows, "set", "kind").items():
        line = f"{name}: {kind}" if several else str(kind)
        exact[line] = scores.curve(group, "budget", scores.accuracy)
        if kind == LINES:
            errors[line] = scores.curve(group, "budget", scores.character_error_rate)
    x_axis, wrong = "image budget in tokens", "Characters read wrongly on whole pages"
    plots = [
        Plot(f"exact-over-budget-{number}", f"Exact answers: {subject}", x_axis,
             "share of exact answers", exact, logarithmic=True, share=True),
        Plot(f"errors-over-budget-{number}", f"{wrong}: {subject}", x_axis,
             "character error rate", errors, logarithmic=True),
    ]  # fmt: skip
    return [plot for plot in plots if plot.lines]


def _seconds(rows: Sequence[Row]) -> Table:
    """What more tokens cost; apart from the other tables, since no two runs take the same time."""
    lines = [
        [str(budget), str(kind), str(len(group)), f"{fmean(row.seconds for row in group):.2f}"]
        for budget, kinds in _budgets(rows)
        for (kind,), group in scores.groups(kinds, "kind").items()
    ]
    return Table("Mean time of an answer", ["budget", "kind", "n", "seconds"], lines)


def _budgets(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows by their budget, smallest first; those that have none are all together."""
    by = scores.groups(rows, "budget") or {(_WHOLE,): list(rows)}
    return [(str(budget), group) for (budget,), group in sorted(by.items())]


def _beside(rows: Sequence[Row]) -> list[Part]:
    """Models at each budget and rivals, on the pages that all of them transcribed."""
    pages = _lines(rows)
    if len({"budget" in row.facts for row in pages}) < 2:
        return []
    lines, pairs = [], []
    for (name,), of_set in scores.groups(pages, "set").items():
        readers = scores.by_subject(scores.shared([_as_reader(row) for row in of_set]))
        ours = {who: of for who, of in readers.items() if "budget" in of[0].facts}
        rivals = {who: of for who, of in readers.items() if who not in ours}
        for reader, group in (ours | rivals).items():
            figures = (scores.character_error_rate(group), scores.accuracy(group))
            lines.append([str(name), reader, str(len(group)), *map(format, figures)])
        for one, other in product(ours, rivals):
            cells = scores.difference(
                [*ours[one], *rivals[other]], one, other,
                lambda m: m["character_edits"] / max(1, m["characters"]),
            )  # fmt: skip
            pairs.append([str(name), f"{one} - {other}", *cells])
    title = "Mean character error rate of a page: differences on the same pages"
    heads = ["set", "reader", "pages", "CER", "exact"]
    compared = Table(title, ["set", *scores.PAIRS], pairs)
    return [Table("", heads, lines), compared] if lines else []


def _as_reader(row: Row) -> Row:
    """A row of a model at a budget, or of a rival, named by its page: so they can be paired."""
    budget = row.facts.get("budget")
    reader = f"{row.subject}, {_WHOLE if budget is None else f'{budget} tokens'}"
    return replace(row, item=row.facts["page"], model=reader, recipe="")


def _lines(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.facts["kind"] == LINES]


QUESTION = Ocr()
