"""How well is speech understood: in noise, rooms and crowds, and at which place in the context?

Texts are compared after both were normalized as OpenAI did for Whisper (A. Radford et al., Robust
Speech Recognition via Large-Scale Weak Supervision, 2022, appendix C): numbers, spelling,
contractions and fillers of English, case and punctuation of every language.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from . import scores
from .models import ours
from .question import Choice, Facts, Item, Part, Plot, Row, Subject, Table, Words
from .sounds.sets import MAKERS, Maker
from .statistics import ratio, share

_USUAL = ("clean", "noise", "room", "speed", "voices", "two", "position", "silence")
_SMALL = ("tiny", "noise", "room", "speed", "voices", "position", "silence")  # it hears one person
_ENGLISH, _BASIC = EnglishTextNormalizer(), BasicTextNormalizer()
_LOOP = re.compile(r"(.{2,60}?)\1{3,}")
"""The same again and again: at least two characters, four times in a row."""
_ELLIPSIS = re.compile(r"\.{2,}")
_WHO = re.compile(
    r"^\W*((?:(?:speaker|person|voice|man|woman|male|female)\s*\w{0,2}|\d|[AB])\s*[:.)\-])\W*", re.I
)


class Speech:
    name = "speech"
    sets = tuple(MAKERS)
    needs = frozenset({"sound"})

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List what is asked, utterance by utterance, so that an unfinished run has all sets."""
        usual = _SMALL if choice.tiny else _USUAL
        chosen = choice.sets or (("folder",) if choice.folder else usual)
        maker = Maker(choice, subject)
        found = [numbered for name in chosen for numbered in MAKERS[name](maker)]
        return [item for _, item in sorted(found, key=lambda numbered: numbered[0])]

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        asked = item.make()
        relayed = item.facts.get("hearing") == "relay"
        given = ours(subject).heard(asked) if relayed else subject.answer(asked)
        if not asked.wanted:
            return invented(given)
        return _compared(item.facts, asked.wanted, given)

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        said = [row for row in rows if row.measured.get("words")]
        parts: list[Part] = [Words("", _METHOD)]
        if said:
            direct = [row for row in said if row.facts.get("hearing") != "relay"]
            parts += [Words("All sets"), _overview(direct)]
            title = "Mean word error rate of an item, one less the other"
            rate = scores.differences(said, title, lambda m: m["word_edits"] / m["words"], "set")
            parts += [Words("Differences, each on the same sounds"), rate] if rate else []
        for (name,), group in scores.groups(said, "set").items():
            facts = _CONDITIONS.get(name, ())
            parts += [Words(f"The set {name}", _ABOUT.get(name, "")), _by_condition(group, facts)]
            parts += [_curves(name, group, facts, over) for over in facts if over in _AXES]
        if nobody := [row for row in rows if "invented" in row.measured]:
            parts += [Words("Where nobody speaks"), _inventions(nobody)]
        return parts


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
    """What `scores.score` returns, `inserted` words, and whether the answer `loops`."""
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
    What is wanted has a line each; `who_said` takes apart what is given.
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


_METHOD = (
    "`WER` and `CER` are edits over words and over characters of what was said, after both texts "
    "were normalized as for Whisper; where digits are said, each is a word. `exact` is the share "
    "of transcripts without an error, `inserted` the words that nobody said over those that were "
    "said, `loops` the share of transcripts that repeat a phrase four times or more, `chance` the "
    "WER of the same transcripts beside what was said in other items. A voice by espeak-ng is not "
    "a person: figures of sets other than human and folder compare conditions and programs."
)
_ABOUT = {
    "noise": "Noise is as loud as the speech's active parts, less the ratio.",
    "room": "The direct sound, and as much power again from the walls.",
    "voices": "A voice with a language besides English is transcribed in that language.",
    "two": "By the better of the two assignments (cpWER). A recognizer writes one transcript, "
    "which counts as one person's.",
    "position": "`before` is in tokens; the instruction is between them and the sound. "
    "`direct`: the sound is in the conversation; `relay`: it is heard in a side context, where "
    "its position does not change. A recognizer has no context.",
}
_CONDITIONS = {
    "tiny": ("kind",),
    "noise": ("noise", "snr"),
    "room": ("rt60",),
    "speed": ("speed",),
    "voices": ("language", "voice"),
    "two": ("overlap",),
    "position": ("hearing", "before"),
    "human": ("source",),
    "folder": ("language",),
}
_AXES = {
    "snr": ("in noise", "speech over noise in dB"),
    "rt60": ("in rooms", "reverberation time in s"),
    "speed": ("by pace", "pace over the usual one"),
    "overlap": ("of two people", "share of the shorter that both speak"),
    "before": ("by place in the context", "tokens of text before the sound"),
}
_SHOWN = 40  # characters of an answer


def _overview(rows: Sequence[Row]) -> Table:
    """A line for each set, a column for each subject, on what all of them heard."""
    subjects = list(scores.by_subject(rows))
    lines = []
    for (name,), group in scores.groups(rows, "set").items():
        everybody = len(scores.by_subject(group)) == len(subjects)
        by = scores.by_subject(common := scores.shared(group) if everybody else [])
        cells = [f"{scores.word_error_rate(by[who]):.1%}" if common else "" for who in subjects]
        lines.append([name, str(len(common) // len(subjects)), *cells])
    heads = ["set", "n", *(f"WER, {subject}" for subject in subjects)]
    return Table("Word error rate on the sounds that everybody heard", heads, lines)


def _by_condition(rows: Sequence[Row], facts: Sequence[str]) -> Table:
    lines = []
    for values, cell in scores.groups(rows, *facts).items():
        for subject, group in scores.by_subject(cell).items():
            lines.append([" ".join(map(str, values)) or "all", subject, *_figures(group)])
    heads = ["n", "words", "WER", "CER", "exact", "inserted", "loops", "chance"]
    return Table("", [" ".join(facts) or "condition", "who", *heads], lines)


def _figures(rows: Sequence[Row]) -> list[str]:
    words = [row.measured["words"] for row in rows]
    return [
        str(len(rows)),
        str(sum(words)),
        f"{scores.word_error_rate(rows):.1%}",
        f"{scores.character_error_rate(rows):.1%}",
        f"{scores.accuracy(rows):.2f}",
        f"{ratio([row.measured['inserted'] for row in rows], words).value:.1%}",
        f"{share([row.measured['loops'] for row in rows]).value:.0%}",
        _chance(rows),
    ]


def _chance(rows: Sequence[Row]) -> str:
    """The WER of transcripts beside what was said in other items; none for one item."""
    mixed = []
    for row in scores.shuffled(rows):
        wanted, given = row.measured["wanted"], row.measured["given"]
        mixed.append(replace(row, measured=_compared(row.facts, wanted, given)))
    return f"{scores.word_error_rate(mixed).value:.0%}" if mixed else ""


def _compared(facts: Facts, wanted: str, given: str) -> Mapping[str, Any]:
    of_set = compare_two if facts["set"] == "two" else compare
    return of_set(wanted, given, facts["language"])


def _curves(name: str, rows: Sequence[Row], facts: Sequence[str], over: str) -> Plot:
    """Errors over one fact, a number, with a line for each subject and each other condition."""
    lines = {}
    for values, group in scores.groups(rows, *(fact for fact in facts if fact != over)).items():
        for subject, of in scores.by_subject(group).items():
            line = ", ".join([subject, *map(str, values)])
            lines[line] = scores.curve(of, over, scores.word_error_rate)
    title, axis = _AXES[over]
    return Plot(f"words-{name}", f"Words wrong {title}", axis, "word error rate", lines)


def _inventions(rows: Sequence[Row]) -> Table:
    lines = []
    own = [row for row in rows if "kind" not in row.facts]
    by_sound = scores.groups(rows, "kind") | ({("folder",): own} if own else {})
    for (name,), cell in by_sound.items():
        for subject, group in scores.by_subject(cell).items():
            invented = [row.measured["invented"] for row in group]
            minutes = [float(row.facts.get("seconds") or 0) / 60 for row in group]
            longest = max((row.measured["given"] for row in group), key=len)
            figures = [
                f"{share([count > 0 for count in invented]):.2f}",
                f"{ratio(invented, minutes):.1f}" if all(minutes) else "",
                f"{share([row.measured['loops'] for row in group]):.2f}",
                longest if len(longest) <= _SHOWN else f"{longest[:_SHOWN]}...",
            ]
            lines.append([str(name), subject, str(len(group)), *figures])
    heads = ["sound", "who", "n", "with words", "words a minute", "loops", "the longest"]
    return Table("Answers that have words, where there are none", heads, lines)


QUESTION = Speech()
