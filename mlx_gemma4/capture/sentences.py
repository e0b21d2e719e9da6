"""Text that is still being written, as sentences to be spoken.

Code, tables, addresses and markup are left out.
"""

import re

# also in a list or a quotation; after ``` no other ` may follow in the line
_FENCE = re.compile(r"^\s*(?:(?:>|[-*+]|\d{1,3}[.)])\s+)*(`{3,}+(?!.*`)|~{3,}+)")
_TABLE = re.compile(r"^\s*\|.*\|\s*$")
_RULE = re.compile(r"^\s*([-*_=]\s*){3,}$")
# a letter of an address: the marks and words of Chinese and Japanese come after it without a space
_LETTER = r"[^\s>)\u3000-\u9fff\uff00-\uffef"
_ADDRESS = re.compile(rf"(?:!?\[[^\]]*\]\()?(?:[a-z]+://|www\.){_LETTER}]*\)?")
# what is taken out of a sentence: formulas, pictures, links, addresses, code, tags, list marks
_MARKUP = (
    (re.compile(r"\$\$.*?\$\$|\\\[.*?\\\]"), " "),
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(rf"<?(?:https?://|www\.){_LETTER}]*{_LETTER}.,;:!?]>?"), " "),
    (re.compile(r"`+([^`]*)`+"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), " "),
    (re.compile(r"^\s*(?:#{1,6}\s+|>\s?|[-*+]\s+(?:\[[ xX]\]\s+)?|\d{1,3}[.)]\s+)+"), ""),
)
_EMPHASIS = re.compile(r"(?<!\w)(\*\*\*|\*\*|\*|___|__|_|~~)(?=\S)(.+?)(?<=\S)\1(?!\w)")

# an end of a sentence, with what closes it, and a space after it; Chinese and Japanese have none
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[」』”]*")
_SHORT = re.compile(  # after these a dot ends no sentence
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|Nr|vs|etc|approx|ca|bzw|usw|Fig|e\.g|i\.e|z\.B|d\.h)"
    r"|\b[A-Z]|^\s*\d{1,3})\.$"
)

LONGEST = 280
"""Characters after which a sentence that does not end is cut at a comma or a space."""


class Sentences:
    """Takes pieces of an answer's Markdown, and returns what can be spoken of it."""

    def __init__(self) -> None:
        self._line = ""  # what of the unfinished line was not returned yet
        self._fresh = True  # nothing of this line was returned
        self._fence = ""  # that opened the code in which this line is

    def add(self, piece: str) -> list[str]:
        """Take a piece; return the sentences that are whole now."""
        given: list[str] = []
        self._line += piece
        while "\n" in self._line:
            line, self._line = self._line.split("\n", 1)
            given += self._end(line)
        if not self._fence and not _undecided(self._line, self._fresh):
            given += self._cut()
        return given

    def finish(self) -> list[str]:
        """End the answer; return the rest."""
        rest, self._line = self._line, ""
        given = self._end(rest)
        self._fence = ""
        return given

    def _end(self, line: str) -> list[str]:
        fresh, self._fresh = self._fresh, True
        if self._fence:  # closed by as many of the same marks, alone in their line
            marks = line.strip(" \t\r>")
            if marks.startswith(self._fence) and not marks.strip(self._fence[0]):
                self._fence = ""
            return []
        if fresh and (opened := _FENCE.match(line)):
            self._fence = opened[1]
            return []
        if fresh and (_TABLE.match(line) or _RULE.match(line)):
            return []
        whole, rest = _split(line)
        return _speakable([*whole, rest])

    def _cut(self) -> list[str]:
        whole, rest = _split(self._line)
        if not whole:
            return []
        self._line, self._fresh = rest, False
        return _speakable(whole)


def spoken(text: str) -> str:
    """Take the markup and the addresses out of a sentence; empty where nothing can be spoken."""
    for pattern, plain in _MARKUP:
        text = pattern.sub(plain, text)
    while (plain := _EMPHASIS.sub(r"\2", text)) != text:
        text = plain
    text = re.sub(r"[*`#|\\~]+|(?<!\w)_+|_+(?!\w)", " ", text)
    text = re.sub(r"\(\s*\)|\[\s*\]", " ", text)
    text = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split()))
    return text if re.search(r"\w", text) else ""


def _speakable(parts: list[str]) -> list[str]:
    return [text for part in parts if (text := spoken(part))]


def _undecided(line: str, fresh: bool) -> bool:
    """Whether a line that is not whole may still become code or a table, or holds open markup."""
    if fresh and (line.lstrip()[:1] in ("|", "`", "~") or not line.strip()):
        return True
    return line.count("`") % 2 == 1 or line.rfind("](") > line.rfind(")")


def _split(text: str) -> tuple[list[str], str]:
    whole, start = [], 0
    for end in _END.finditer(text):
        if _SHORT.search(text[start : end.end()]) and end.group() == ".":
            continue
        if text[start : end.end()].count("`") % 2:  # within code
            continue
        whole.append(text[start : end.end()])
        start = end.end()
    rest = text[start:]
    while len(rest) > LONGEST:
        at = max(rest.rfind(mark, 0, LONGEST) for mark in (", ", "; ", ": ")) + 1
        at = at or rest.rfind(" ", 1, LONGEST)
        if at < 0:  # Chinese has no spaces, and neither has an address, which is not cut
            at = LONGEST
            for address in _ADDRESS.finditer(rest):
                if address.start() < at <= address.end():
                    at = address.start() or address.end()
        if at >= len(rest):
            break
        whole.append(rest[:at])
        rest = rest[at:]
    return whole, rest
