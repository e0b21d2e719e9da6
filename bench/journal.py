"""How long it takes to reopen a long conversation: its journal, read and folded into turns.

    python bench/journal.py [--answers 100] [--tokens 600]

Twice: as a program leaves it that was closed, and as one leaves it that was killed, where each
piece of an answer is still a line of its own. Wanted: under 0.5 s for 100 answers of 600 tokens.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from app.conversation.entries import QuestionSent, TextAdded, TurnEnded, TurnStarted  # noqa: E402
from app.conversation.history import History  # noqa: E402
from app.conversation.journal import Journal  # noqa: E402
from app.conversation.store import ConversationStore  # noqa: E402


def write(journal: Journal, answers: int, tokens: int) -> None:
    """Hold the conversation: each token is written when it comes."""
    for number in range(1, 2 * answers, 2):
        journal.append(TurnStarted(number, "user", 0.0))
        journal.append(QuestionSent(number, f"question {number}"))
        journal.append(TurnStarted(number + 1, "model", 0.0))
        for token in range(tokens):
            journal.append(TextAdded(number + 1, "text", f" word{token}"))
        ids = tuple(range(tokens))
        journal.append(TurnEnded(number + 1, "done", "stop", {"reply_tokens": tokens}, ids=ids))


def reopened(folder: Path) -> tuple[float, History]:
    """Open it as the program does; return the seconds."""
    started = time.perf_counter()
    journal = Journal(folder)
    history = History(journal.entries())
    seconds = time.perf_counter() - started
    journal._pieces = False  # leave the file as it is
    journal.close()
    return seconds, history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=600)
    options = parser.parse_args()
    print("| journal | lines | kB | reopened s | listed s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        store = ConversationStore(Path(place) / "conversations")
        journal = store.new()
        write(journal, options.answers, options.tokens)
        for name in ("killed", "closed"):
            if name == "killed":
                journal._pieces = False  # a kill merges nothing
            journal.close()
            events = journal.folder / "events.jsonl"
            content = events.read_bytes()
            seconds, history = reopened(journal.folder)
            assert len(history.turns) == 2 * options.answers
            assert len(history.turns[2].text.split()) == options.tokens
            started = time.perf_counter()
            store.list()
            listed = time.perf_counter() - started
            lines, size = content.count(b"\n"), len(content) / 1000
            print(f"| {name} | {lines} | {size:.0f} | {seconds:.3f} | {listed:.3f} |")
            journal = Journal(journal.folder)
            journal._pieces = True


if __name__ == "__main__":
    main()
