"""What a grammar costs a token, and whether replies keep to it.

    python bench/constrained.py [--replies 200]

The masks are measured over a made-up vocabulary of 262,144 tokens (words, numbers, punctuation,
blanks, letters of many scripts), in the processor's time, in which nothing else that runs counts;
wanted: under 1 ms a token, the draw not counted. The replies are those of the tiny model at
temperature 1, ten schemas, judged by the package jsonschema.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from statistics import median

import jsonschema
import mlx.core as mx
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import mlx_gemma4
from mlx_gemma4.chat.grammar import reply_grammar
from mlx_gemma4.events import Done, Token
from mlx_gemma4.generation.constrain import GrammarTokenizer
from tests.fixtures.schemas import SCHEMAS

SIZE, CONTROLS = 262_144, 24
FORWARD = 17
"""Milliseconds in which 7 GB of weights are read at 400 GB/s: a mask is computed beside that."""


class Vocabulary:
    """Tokens as large vocabularies have them; a text is encoded by the longest token that fits."""

    def __init__(self) -> None:
        rng = random.Random(0)
        onsets = ["", *"bcdfghklmnprstvw", "st", "tr", "pl", "ch", "sh"]
        syllables = [a + v + e for a in onsets for v in "aeiou" for e in ("", *"nrstlm")]
        marks = "{}[]\":,.;()<>=+-*/_#@!?\\'"
        tokens = {bytes([byte]): 0 for byte in range(256)}
        tokens |= {(a + b).encode(): 0 for a in marks for b in marks}
        tokens |= {character * n: 0 for character in (b" ", b"\n") for n in range(2, 32)}
        tokens |= {chr(n).encode(): 0 for n in (*range(0x80, 0x3000), *range(0x4E00, 0x9000))}
        while len(tokens) < SIZE - CONTROLS:
            word = "".join(rng.choice(syllables) for _ in range(rng.choice((1, 2, 2, 3, 4))))
            word = rng.choice((word, word, word.capitalize(), word.upper()))
            tokens[(rng.choice(("", " ", " ")) + word).encode()] = 0
        names = ["<eos>", "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>']
        names += [f"<control{n}>" for n in range(CONTROLS - len(names))]
        self.controls = {name: n for n, name in enumerate(names)}
        self.vocab_size = SIZE
        self._tokens = [b""] * CONTROLS + [*tokens]
        self._ids = {token: CONTROLS + n for n, token in enumerate(tokens)}

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokens[token_id]

    def encode(self, text: str) -> list[int]:
        ids, rest = [], text.encode()
        while rest:
            size = next(n for n in range(min(len(rest), 40), 0, -1) if rest[:n] in self._ids)
            ids.append(self._ids[rest[:size]])
            rest = rest[size:]
        return ids


def masks() -> None:
    """Measure the masks of random replies."""
    vocabulary = Vocabulary()
    tokenizer = GrammarTokenizer(vocabulary, [0])
    started = time.perf_counter()
    tokenizer.prepare()
    tokenizer.constraint("start: /a/", False, SIZE)
    print(f"vocabulary built in {time.perf_counter() - started:.1f} s, once, in a thread\n")
    logits = mx.zeros((1, SIZE))
    mx.eval(logits)
    print("| schema | tokens | compile ms | mask ms: median | 99 % | applied ms: median |")
    print("|---|--:|--:|--:|--:|--:|")
    everything: list[float] = []
    for name, schema in {**SCHEMAS, "any object": {"type": "object"}}.items():
        grammar = reply_grammar(schema, (), (), vocabulary.controls)
        assert grammar is not None
        compiled, took, applied = [], [], []
        for seed in range(10):
            started = time.perf_counter()
            constraint, rng = tokenizer.constraint(grammar, False, SIZE), random.Random(seed)
            compiled.append(time.perf_counter() - started)
            for _ in range(60):
                spent = time.thread_time()
                mask = constraint.mask()
                spent, computed = time.thread_time() - spent, time.perf_counter()
                mx.eval(mx.where(mx.array(mask)[None], logits, -mx.inf))
                took.append(spent)
                applied.append(time.perf_counter() - computed)
                drawn = int(rng.choice(np.flatnonzero(mask)))
                constraint.take(drawn)
                if drawn == 0:
                    break
        everything += took
        figures = (1000 * median(compiled), 1000 * median(took), 1000 * np.quantile(took, 0.99))
        cells = " | ".join(f"{figure:.2f}" for figure in (*figures, 1000 * median(applied)))
        print(f"| {name} | {len(took)} | {cells} |")
    mean = 1000 * sum(everything) / len(everything)
    print(f"\nall: median {1000 * median(everything):.2f} ms, mean {mean:.2f} ms a token")
    for limit in (1, FORWARD):
        over = sum(1000 * one > limit for one in everything) / len(everything)
        print(f"{over:.1%} take longer than {limit} ms")
    print()


def replies(count: int) -> None:
    """Draw replies of the tiny model, and judge them."""
    model = mlx_gemma4.load("tiny")
    session = mlx_gemma4.Session(model)
    check = jsonschema.FormatChecker(["date", "ipv4"])
    for name, schema in SCHEMAS.items():
        valid = 0
        for seed in range(count):
            session.open(())
            session.add_text("go")
            *events, done = session.reply(temperature=1, seed=seed, grammar=schema)
            assert isinstance(done, Done)
            text = "".join(event.text for event in events if isinstance(event, Token))
            jsonschema.validate(json.loads(text), schema, format_checker=check)
            valid += 1
        print(f"{valid} of {count} valid: {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--replies", type=int, default=200)
    options = parser.parse_args()
    masks()
    if options.replies:
        replies(options.replies)
