"""Conversations of the first world that only training and tools ask for."""

import random
from dataclasses import replace

from mlx_gemma4.evaluate.tiny import receipts
from mlx_gemma4.evaluate.tiny.receipts import COLUMNS
from mlx_gemma4.evaluate.tiny.tasks import Exchange, Tasks


class FirstWorld(Tasks):
    """All makers of conversations of the first world."""

    def word(self) -> list[Exchange]:
        """One short word, to learn that an answer is copied from the picture."""
        characters = self.rng.choice(("0123456789", receipts.ALPHABET, receipts.ALPHABET.lower()))
        word = "".join(self.rng.choice(characters) for _ in range(self.rng.randint(1, 8)))
        return [self._shown((word,), self._reading(word))]

    def strip(self) -> list[Exchange]:
        """Lines of random words; all of them are asked for."""
        rng = self.rng
        capitals, small = receipts.ALPHABET, receipts.ALPHABET.lower()
        # Capitals take longest to learn, and on receipts only the shop's name has them.
        characters = rng.choice(
            ("0123456789.-", capitals, capitals, small, capitals + small + "0123456789.,:-/%?!")
        )
        rows = rng.randint(1, self.world.rows)
        lines = random_lines(rng, rows, characters)
        return [self._shown(lines, self._reading(receipts.as_text(lines)))]

    def receipt(self) -> list[Exchange]:
        """A receipt and several typed questions."""
        receipt = receipts.make_receipt(self.rng, self.world.examination)
        kinds = self._kinds((*receipts.KINDS, "price"), self.rng.randint(3, 6))
        if self.rng.random() < 0.3:
            kinds[self.rng.randrange(len(kinds))] = "lines"
        exchanges = [self._question(receipt, kind) for kind in kinds]
        return [self._shown(receipt.lines, exchanges[0]), *exchanges[1:]]

    def mixed(self) -> list[Exchange]:
        """A receipt with a spoken question, then typed and spoken ones about the same picture."""
        receipt = receipts.make_receipt(self.rng, self.world.examination)
        kinds = self._kinds(receipts.KINDS, self.rng.randint(2, 4))
        exchanges = [self._question(receipt, kind) for kind in kinds]
        for number, exchange in enumerate(exchanges):
            if number == 0 or self.rng.random() < 0.5:
                spoken = exchange.question.rstrip("?").lower()
                exchanges[number] = replace(
                    exchange, question="", sound=self.say(spoken), said=spoken
                )
        return [self._shown(receipt.lines, exchanges[0]), *exchanges[1:]]

    def later(self) -> list[Exchange]:
        """Something else first, then a receipt in a later turn."""
        first = self.rng.choice((self.chat, self.digits, self.commands, self.receipt))()[:1]
        return [*first, *self.rng.choice((self.receipt, self.mixed))()[:2]]

    def _kinds(self, pool: tuple[str, ...], count: int) -> list[str]:
        weights = [self.world.shop if kind == "shop" else 1.0 for kind in pool]
        kinds: list[str] = []
        while len(kinds) < count:
            kind = self.rng.choices(pool, weights)[0]
            if kind == "price" or kind not in kinds:  # of another article each time
                kinds.append(kind)
        return kinds

    def _reading(self, answer: str) -> Exchange:
        question = self._written(self.rng.choice(receipts.QUESTIONS["lines"]))
        return Exchange(answer, question, kind="lines", label="")


def random_lines(rng: random.Random, rows: int, characters: str) -> tuple[str, ...]:
    """Lines of random words for learning to read letters without guessing."""
    lines = []
    for _ in range(rows):
        line = ""
        while len(line) < COLUMNS and (not line or rng.random() < 0.8):
            line += "".join(rng.choice(characters) for _ in range(rng.randint(1, 8))) + " "
        lines.append(line[:COLUMNS].strip())
    return tuple(lines)
