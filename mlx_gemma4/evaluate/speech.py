"""How well is speech understood: in noise, rooms and crowds, and at which place in the context?

Words are compared after both texts were normalized as for Whisper (`sounds/transcripts.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import scores
from .models import ours
from .parts import Part, Plot, Table, Words
from .question import Choice, Facts, Item, Row, Subject
from .questions import NAMES
from .sounds import transcripts
from .sounds.items import Maker
from .sounds.sets import MAKERS
from .statistics import ratio, share

_USUAL = ("clean", "noise", "room", "speed", "voices", "two", "position", "silence")
_SMALL = ("tiny", "noise", "room", "speed", "voices", "position", "silence")  # it hears one person


class Speech:
    name = "speech"
    about = NAMES["speech"]
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
            return transcripts.invented(given)
        return _compared(item.facts, asked.wanted, given)

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        said = [row for row in rows if row.measured.get("words")]
        parts: list[Part] = [Words("", _METHOD)]
        if said:
            direct = [row for row in said if row.facts.get("hearing") != "relay"]
            parts += [Words("All sets"), _overview(direct)]
            title = "Mean word error rate of an item, one less the other"
            rate = scores.differences_by_set(said, title, lambda m: m["word_edits"] / m["words"])
            parts += [Words("Differences, each on the same sounds"), rate] if rate else []
        for (name,), group in scores.groups(said, "set").items():
            facts = _CONDITIONS.get(name, ())
            parts += [Words(f"The set {name}", _ABOUT.get(name, "")), _by_condition(group, facts)]
            if name in _TITLES:
                parts.append(_curves(name, group, facts))
        if nobody := [row for row in rows if "invented" in row.measured]:
            parts += [Words("Where nobody speaks"), _inventions(nobody)]
        return parts


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
    "snr": "speech over noise in dB",
    "rt60": "reverberation time in s",
    "speed": "pace over the usual one",
    "overlap": "share of the shorter that both speak",
    "before": "tokens of text before the sound",
}
_SHOWN = 40  # characters of an answer
_TITLES = {
    "noise": "Words wrong in noise",
    "room": "Words wrong in rooms",
    "speed": "Words wrong by pace",
    "two": "Words wrong of two people",
    "position": "Words wrong by place in the context",
}


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
    if len(rows) < 2:
        return ""
    mixed = []
    for row in scores.shuffled(rows):
        wanted, given = row.measured["wanted"], row.measured["given"]
        mixed.append(replace(row, measured=_compared(row.facts, wanted, given)))
    return f"{scores.word_error_rate(mixed).value:.0%}"


def _compared(facts: Facts, wanted: str, given: str) -> Mapping[str, Any]:
    compare = transcripts.compare_two if facts["set"] == "two" else transcripts.compare
    return compare(wanted, given, facts["language"])


def _curves(name: str, rows: Sequence[Row], facts: Sequence[str]) -> Plot:
    """Errors over the set's number, with a line for each subject and each other condition."""
    over = next(fact for fact in facts if fact in _AXES)
    lines = {}
    for values, group in scores.groups(rows, *(fact for fact in facts if fact != over)).items():
        for subject, of in scores.by_subject(group).items():
            line = ", ".join([subject, *map(str, values)])
            lines[line] = scores.curve(of, over, scores.word_error_rate)
    return Plot(f"words-{name}", _TITLES[name], _AXES[over], "word error rate", lines)


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
