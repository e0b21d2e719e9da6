"""The conversations of the small world: what is shown, said and asked, and the answers."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlx_gemma4.evaluate.tiny import receipts, words
from mlx_gemma4.evaluate.tiny.receipts import ABSENT, ALPHABET, ITEMS, Drawing, Receipt, Style
from mlx_gemma4.evaluate.tiny.tasks import BLIND, INTRODUCTION, Exchange, World

from . import pages, prints, sentences, wordings
from .first_world import FirstWorld
from .papers import dialog_text, list_text, receipt_rows, table_rows
from .prints import Prints
from .sounds import Channel, Room
from .voices import ESPEAK, FLITE, delivery, speak
from .wordings import NO_WORDS, NOT_SHOWN, OUTSIDE, UNREADABLE, written

APPS = ("mail", "music", "camera", "notes", "maps", "calendar", "photos", "terminal", "browser",
        "clock", "settings", "messages", "weather", "files", "calculator", "contacts")  # fmt: skip
OPEN_APP = {
    "type": "function",
    "function": {
        "name": "open_app",
        "description": "Opens an app",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        },
    },
}
OPENING = (
    "open {}",
    "open the {}",
    "open the {} app",
    "start {}",
    "start the {} app",
    "launch {}",
    "show me the {} app",
    "please open {}",
    "can you open {}",
    "go to {}",
    "I need the {} app",
    "switch to {}",
    "start the {}",
    "bring up {}",
    "show {}",
    "run {}",
    "could you open the {}",
    "open my {}",
    "I want to use {}",
)


@dataclass(frozen=True)
class Width:
    """How far the world is from the first one: 0 is that one. Shares and sizes."""

    wordings: float = 0.7  # share of questions in new wordings
    wide: float = 0.5  # how far pages may differ from the first receipts
    old: float = 0.4  # share of receipts drawn as in the first world
    channel: Channel = field(default_factory=Channel)
    voices: tuple[str, ...] = (*ESPEAK, *FLITE * 2)
    fonts: tuple[str, ...] = pages.FONTS
    prints: Prints = field(default_factory=Prints)
    only: str = ""  # the one disturbance of an examination


class Scenes(FirstWorld):
    """Makers of conversations, each a fresh one; a seed makes the same list but for the voices."""

    def __init__(self, seed: int, world: World, width: Width) -> None:
        super().__init__(seed, world)
        self.width = width
        self.room = Room(self.rng, width.channel)

    # what is said

    def say(self, text: str) -> np.ndarray:
        """Speak text as somebody in this world would, in some room: float32 at 16 kHz."""
        spoken = " ".join(text) if text.isdigit() else text
        return self.room.hear(speak(spoken, delivery(self.rng, self.width.voices)))

    def chat(self) -> list[Exchange]:
        """Words alone, over one to three turns."""
        return [self._word() for _ in range(self.rng.choice((1, 1, 2, 3)))]

    def nobody(self) -> list[Exchange]:
        """A sound without words, sometimes after or before speech, sometimes with a receipt."""
        rng = self.rng
        silent = Exchange(NO_WORDS, self._request(), sound=self.room.nobody(), said="")
        if rng.random() < 0.25:
            return [silent, self._heard(self._sentence())]
        if rng.random() < 0.2:
            return [replace(self.receipt()[0], answer=NO_WORDS, question="", sound=silent.sound,
                            label=None, kind="")]  # fmt: skip
        return [silent]

    def tool(self) -> list[Exchange]:
        """An app is opened by a call, where a tool for it is declared; the rest stays as it is."""
        rng, examination = self.rng, self.world.examination
        if rng.random() < 0.25:
            return [self._word()]
        # any word, else the few names are learned by heart in place of being copied
        names = APPS if rng.random() < 0.4 else words.WORDS
        name = rng.choice([name for name in names if words.held_out(name) == examination])
        text = rng.choice(OPENING).format(name).lower()
        call = f'<|tool_call>call:open_app{{name:<|"|>{name}<|"|>}}<tool_call|>'
        if rng.random() < 0.5:
            return [Exchange(call, sound=self.say(text), said=text, kind="tool")]
        return [Exchange(call, written(text, rng), kind="tool")]

    # what is shown

    def shown(self, receipt: Receipt) -> tuple[Drawing, int]:
        """A receipt as a picture, and the tokens it may take."""
        rng = self.rng
        if rng.random() < self.width.old and not self.width.only:
            as_printed = self.width.prints
            other = rng.random() < as_printed.order
            lines = prints.lines(receipt, rng) if other else receipt.lines
            first = super()._shown(lines, Exchange(""))
            assert first.drawing is not None
            return prints.printed(first.drawing, as_printed, rng), first.budget
        how = self._look()
        rows = receipt_rows(receipt, rng)
        drawing = pages.draw_rows(rows, how, rng)
        if rng.random() < 0.15 * self.width.wide and not self.width.only:
            drawing, how = pages.in_window(rng, drawing), replace(how, budget=140)
        return drawing, how.budget

    def receipt(self) -> list[Exchange]:
        """A receipt and several typed questions."""
        rng = self.rng
        receipt = self._receipt()
        kinds = self._kinds((*receipts.KINDS, "price", "price"), rng.randint(4, 7))
        exchanges = [self._question(receipt, kind) for kind in kinds]
        if rng.random() < 0.5:
            exchanges[rng.randrange(len(exchanges))] = self._unshown()
        if rng.random() < 0.1:
            exchanges[rng.randrange(len(exchanges))] = self._json(receipt)
        if rng.random() < 0.1:
            exchanges.append(self._word(seeing=True))
        return self._with_picture(receipt, exchanges)

    def mixed(self) -> list[Exchange]:
        """A receipt with a spoken question, then typed and spoken ones about the same picture."""
        rng = self.rng
        receipt = self._receipt()
        exchanges = [
            self._question(receipt, kind)
            for kind in self._kinds((*receipts.KINDS, "price"), rng.randint(2, 4))
        ]
        if rng.random() < 0.2:
            exchanges[rng.randrange(len(exchanges))] = self._unshown()
        for number, exchange in enumerate(exchanges):
            if number == 0 or rng.random() < 0.5:
                exchanges[number] = self._spoken(exchange)
        return self._with_picture(receipt, exchanges)

    def asked(self, kind: str) -> list[Exchange]:
        """A receipt and one typed question of this kind."""
        receipt = self._receipt()
        return self._with_picture(receipt, [self._question(receipt, kind)])

    def two(self) -> list[Exchange]:
        """Two receipts, one after the other, and which of them is more."""
        rng = self.rng
        found = []
        totals = []
        for _ in range(2):
            receipt = self._receipt()
            totals.append(float(receipt.total))
            kind = "total" if rng.random() < 0.7 else rng.choice(receipts.KINDS)
            found += self._with_picture(receipt, [self._question(receipt, kind)])
        answer = "the first" if totals[0] > totals[1] else "the second"
        question = rng.choice(("which is more", "which one is more", "which total is higher",
                               "which receipt is more", "where did I pay more"))  # fmt: skip
        return [*found, Exchange(answer, written(question, rng), kind="more")]

    def unreadable(self) -> list[Exchange]:
        """A picture on which nothing can be read."""
        drawing = pages.nothing(self.rng, self._look())
        kind = self.rng.choice((*receipts.KINDS, "lines", "what"))
        question = written(wordings.question(kind, self.rng, self.world.examination), self.rng)
        return [Exchange(UNREADABLE, question, drawing, 70, kind="unreadable")]

    def page(self) -> list[Exchange]:
        """Lines of random or common words anywhere in a picture, all of them asked for."""
        rng = self.rng
        lines = list_text(rng, rng.randint(1, 6))
        drawing = pages.draw_rows(tuple((line, "") for line in lines), how := self._look(), rng)
        question = written(wordings.question("lines", rng, self.world.examination), rng)
        answer = receipts.as_text(lines)
        return [Exchange(answer, question, drawing, how.budget, kind="lines", label="")]

    def dialog(self) -> list[Exchange]:
        """A dialog: its message, its buttons."""
        rng = self.rng
        message, buttons = dialog_text(rng, self.world.examination)
        how = replace(self._look(), size=rng.choice(pages.SCREENS))
        drawing = pages.dialog(rng, message, buttons, how)
        said = " ".join(message)
        what, which = (written(rng.choice(forms), rng) for forms in (
            ("what does it say", "what does the dialog say", "read the dialog", "read the message",
             "what is asked", "read the text"),
            ("which buttons are there", "what buttons are there", "which buttons", "the buttons",
             "what can I press", "what can I choose", "read the buttons")))  # fmt: skip
        exchanges = [
            Exchange(said, what, kind="dialog", label=""),
            Exchange(", ".join(buttons), which, kind="buttons"),
        ]
        rng.shuffle(exchanges)
        return [replace(exchanges[0], drawing=drawing, budget=how.budget), exchanges[1]]

    def table(self) -> list[Exchange]:
        """A small table: the value of a row."""
        rng = self.rng
        rows = table_rows(rng)
        how = self._look()
        drawing = pages.draw_rows(rows, how, rng)
        found = []
        for name, value in rng.sample(rows, min(2, len(rows))):
            form = rng.choice(("what is the value of {}", "what is {}", "{}", "how much is {}",
                               "read {}", "the value of {}", "what does {} say"))  # fmt: skip
            found.append(Exchange(value, written(form.format(name), rng), kind="table", label=name))
        return [replace(found[0], drawing=drawing, budget=how.budget), *found[1:]]

    def later(self) -> list[Exchange]:
        """Something else first, then a receipt in a later turn."""
        first = self.rng.choice((self.chat, self.digits, self.commands, self.receipt))()
        return [*first[:3], *self.rng.choice((self.receipt, self.mixed))()[:3]]

    def afterwards(self) -> list[Exchange]:
        """Speech without anything to see, after a long conversation."""
        first = self.rng.choice((self.chat, self.receipt, self.mixed))()
        return [*first, *self.rng.choice((self.digits, self.commands))()]

    # parts

    def _style(self, rows: int) -> Style:
        style = super()._style(rows)
        if self.rng.random() < self.width.prints.font:
            style = replace(style, font=str(pages.font_file(self.rng.choice(self.width.fonts))))
        return style

    def _look(self) -> pages.Look:
        return pages.look(self.rng, self.width.wide, self.width.only, self.width.fonts)

    def _receipt(self) -> Receipt:
        receipt = receipts.make_receipt(self.rng, self.world.examination)
        if self.rng.random() < 0.1:
            letters = "".join(self.rng.choice(ALPHABET) for _ in range(2))
            receipt = replace(receipt, shop=letters)
        if self.rng.random() < self.width.prints.date:
            receipt = prints.dated(receipt, self.rng)
        return receipt

    def _with_picture(self, receipt: Receipt, exchanges: list[Exchange]) -> list[Exchange]:
        drawing, budget = self.shown(receipt)
        return [replace(exchanges[0], drawing=drawing, budget=budget), *exchanges[1:]]

    def _question(self, receipt: Receipt, kind: str) -> Exchange:
        found = super()._question(receipt, kind)
        if kind != "price" and self.rng.random() < 0.06:
            kind, found = "lines", replace(found, answer=receipt.answer("lines"), kind="lines",
                                           label="", question="read all lines")  # fmt: skip
        if self.rng.random() < self.width.wordings:
            item = self.rng.choice(receipt.items)[0]
            if self.rng.random() < self.world.absent:
                item = self.rng.choice(ITEMS)
            asked = wordings.question(kind, self.rng, self.world.examination, item)
            found = Exchange(receipt.answer(kind, item), written(asked, self.rng), kind=kind,
                             label=receipt.label(kind, item))  # fmt: skip
        if found.answer == ABSENT:
            found = replace(found, answer=NOT_SHOWN)
        return found

    def _spoken(self, exchange: Exchange) -> Exchange:
        text = " ".join(exchange.question.lower().rstrip(" ?!.").split())
        return replace(exchange, question="", sound=self.say(text), said=text)

    def _unshown(self) -> Exchange:
        core = self.rng.choice(wordings.part(sentences.UNSHOWN, self.world.examination))
        return Exchange(NOT_SHOWN, written(core, self.rng), kind="unshown")

    def _json(self, receipt: Receipt) -> Exchange:
        names = self.rng.sample(("shop", "date", "tax", "total"), self.rng.randint(1, 3))
        answer = json.dumps({name: receipt.answer(name) for name in names})
        form = self.rng.choice(("give me {} as json", "{} as json", "answer in json: {}"))
        return Exchange(answer, written(form.format(" and ".join(names)), self.rng), kind="json")

    def _word(self, seeing: bool = False) -> Exchange:
        rng, examination = self.rng, self.world.examination
        kind = rng.random()
        if kind < 0.35 and not seeing:
            asks = rng.choice([k for k in sentences.CORES if k != "what"])
            text = wordings.question(asks, rng, examination, rng.choice(ITEMS))
            return Exchange(BLIND, written(text, rng), kind="blind")
        if kind < 0.6:
            text = rng.choice(wordings.part(sentences.SELF, examination)).lower()
            return Exchange(INTRODUCTION, written(text, rng), kind="self")
        return Exchange(OUTSIDE, written(wordings.beyond(rng, examination), rng), kind="beyond")

    def _request(self) -> str:
        if self.rng.random() < 0.5:
            return ""
        return written(self.rng.choice(wordings.part(sentences.TRANSCRIBE, False)), self.rng)

    def _heard(self, text: str) -> Exchange:
        return Exchange(text, self._request(), sound=self.say(text), said=text)

    def _sentence(self) -> str:
        kind = self.rng.random()
        if kind < 0.6 or self.world.examination:
            return super()._sentence()
        if kind < 0.85:
            asks = self.rng.choice(list(sentences.CORES))
            return wordings.question(asks, self.rng, False, self.rng.choice(ITEMS))
        return wordings.beyond(self.rng, False)


def tools(name: str) -> tuple[Any, ...]:
    """The tools that a task declares in its system turn."""
    return (OPEN_APP,) if name == "tool" else ()
