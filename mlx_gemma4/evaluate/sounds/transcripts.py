"""Compares what was heard with what was said: word and character errors, inventions, loops.

Texts are normalized as OpenAI did for Whisper (A. Radford et al., Robust Speech Recognition via
Large-Scale Weak Supervision, 2022, appendix C): numbers, spelling, contractions and fillers of
English, case and punctuation of every language.
"""

import re
from collections.abc import Callable
from typing import Any

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from .. import scores

_ENGLISH, _BASIC = EnglishTextNormalizer(), BasicTextNormalizer()
_LOOP = re.compile(r"(.{2,60}?)\1{3,}")
"""The same again and again: at least two characters, four times in a row."""
_ELLIPSIS = re.compile(r"\.{2,}")
_WHO = re.compile(
    r"^\W*((?:(?:speaker|person|voice|man|woman|male|female)\s*\w{0,2}|\d|[AB])\s*[:.)\-])\W*", re.I
)


def normalizer(language: object, wanted: str) -> Callable[[str], str]:
    """How texts of a language are compared; where nothing but digits is wanted, each is a word.

    Whisper's rules make "4071" of "four zero seven one", but leave "4 0 7 1" as four words.
    """
    if language != "en":
        return lambda text: scores.plain(_BASIC(text))
    if _apart(_english(wanted)).replace(" ", "").isdigit():
        return lambda text: _apart(_english(text))
    return _english


def compare(wanted: str, given: str, language: object) -> dict[str, Any]:
    """Count errors.

    Returns:
        what `scores.score` returns, `inserted` words, and whether the answer `loops`.
    """
    normalize = normalizer(language, wanted)
    right, said = normalize(wanted), normalize(given)
    return {
        **scores.score(wanted, given, normalize),
        "inserted": jiwer.process_words(right, said).insertions,
        "loops": repeated(said) > repeated(right),
    }


def compare_two(wanted: str, given: str, language: object) -> dict[str, Any]:
    """Count the errors in what two people said, by the better of the two assignments.

    This is cpWER (S. Watanabe et al., CHiME-6 Challenge, 2020, https://arxiv.org/abs/2004.09249).

    Args:
        wanted: a line each.
        given: `who_said` takes it apart.
    """
    one, other = wanted.split("\n")
    said = who_said(given)
    ways = [
        (compare(one, first, language), compare(other, second, language))
        for first, second in (said, said[::-1])
    ]
    best = min(ways, key=lambda way: way[0]["word_edits"] + way[1]["word_edits"])
    counts = ("character_edits", "characters", "word_edits", "words", "inserted")
    return {
        "wanted": wanted,
        "given": given,
        "exact": all(part["exact"] for part in best),
        "loops": any(part["loops"] for part in best),
        **{name: sum(part[name] for part in best) for name in counts},
    }


def who_said(given: str) -> tuple[str, str]:
    """Take an answer apart by person: lines of one label are one person's, others one each."""
    people: dict[str, list[str]] = {}
    for number, line in enumerate(filter(None, map(str.strip, given.splitlines()))):
        label = _WHO.match(line)
        text = line[label.end() :] if label else line
        people.setdefault(label[1].lower() if label else str(number), []).append(text)
    first, *others = [" ".join(lines) for lines in people.values()] or [""]
    return first, " ".join(others)


def invented(given: str) -> dict[str, Any]:
    """What an answer has where nobody spoke: words, and whether it loops.

    "(silence)" and "[no speech]" are no words: Whisper's rules drop what is in brackets.
    """
    said = _english(given)
    return {
        "wanted": "",
        "given": given,
        "invented": len(said.split()),
        "loops": repeated(said) > 0,
    }


def repeated(text: str) -> int:
    """Characters of the longest stretch that repeats one phrase four times or more."""
    return max((len(found[0]) for found in _LOOP.finditer(f"{text} ")), default=0)


def _apart(text: str) -> str:
    words = ["1" if word == "one" else word for word in text.split()]  # a rule of Whisper's
    return " ".join(" ".join(word) if word.isdigit() else word for word in words)


def _english(text: str) -> str:
    # its rules leave a full stop of "...", as a word
    return scores.plain(_ENGLISH(_ELLIPSIS.sub(" ", text)))
