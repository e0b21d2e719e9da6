"""`gemma4 --plain`: the conversation line by line, as a screen reader or a dumb terminal wants it.

No colours, no cursor, nothing that is drawn over: what happens is a line, the answer comes as text.
Conversations are the same as those of the program with screens.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator

from mlx_gemma4.hub import catalog, disk
from mlx_gemma4.runtime.commands import Hosts
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.terminal_text import clean

from . import settings
from .conversation import attachments, private_files
from .conversation.store import ConversationStore
from .state import Problem
from .workspace import LOG, Workspace

HELP = """Type a question and press Enter. Ctrl+C stops an answer, and keeps what has come.
/file PATH  attach a picture, a sound, a video or a text to the next question
/new        start a new conversation
/model NAME take another model
/again      answer the last question once more
/help       this list
/quit       end (Ctrl+D)"""


def main(model: str | None = None, hosts: Hosts | None = None) -> int:
    """Run it until the user ends it; arguments are as for `main.main`.

    Raises:
        Gemma4Error: there is nowhere to write.
    """
    os.umask(0o077)
    if hasattr(sys.stdin, "reconfigure"):  # a path may be no UTF-8
        sys.stdin.reconfigure(errors="surrogateescape")
    folder, store = settings.folder(), ConversationStore()
    with private_files.program_folders(folder, store.folder):
        worker = SubprocessWorker(folder / LOG, hosts)
    with worker:
        workspace = Workspace(worker, store, folder, model=model)
        try:
            PlainProgram(workspace, _lines(), _write).run()
        finally:
            workspace.close()
    return 0


def _lines() -> Iterator[str]:
    """What is typed, line by line, after a prompt."""
    while True:
        _write("You: ")
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\n")


def _write(text: str) -> None:
    sys.stdout.write(clean(text))
    sys.stdout.flush()


class PlainProgram:
    """One conversation after another; `lines` are what the user types, and `write` prints."""

    def __init__(
        self, workspace: Workspace, lines: Iterator[str], write: Callable[[str], None]
    ) -> None:
        self._workspace, self._lines, self._write = workspace, lines, write
        self._shown = 0  # letters of the answer that are printed
        self._sent_to: set[str] = set()  # computers that get layers of the model
        self._answer = 0  # the turn whose answer is being printed; 0 for none

    def run(self) -> None:
        """Load the model, then read lines until there are no more."""
        for warning in self._workspace.warnings:
            self._print_line(warning)
        self._start()
        if self._workspace.conversation.model is not None:
            self._print_line("Ready. Type a question, or /help.")
        for line in self._lines:
            if line.strip() == "/quit":
                return
            try:
                self._do(line.strip())
            except KeyboardInterrupt:
                self._workspace.conversation.escape()
                self._wait()
            except Exception as error:  # it never ends the program
                self._print_error(error)

    def _start(self) -> None:
        conversation = self._workspace.conversation
        self._print_line(f"Loading {conversation.model_name}.")
        conversation.start()
        self._wait()

    def _do(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        conversation = self._workspace.conversation
        self._wait()  # the worker may have crashed since
        if conversation.model is None:
            self._workspace.client.start()
        match name:
            case "/help":
                self._print_line(HELP)
            case "/new":
                self._workspace.new()
                self._print_line("A new conversation.")
                self._wait()
            case "/file" if rest:
                path = disk.expanded(rest.strip().strip("'\""))
                ready = attachments.file(self._workspace.journal, path, self._workspace.of_pictures)
                chip = conversation.attach(ready).chip
                self._print_line(
                    f"{chip} {ready.name} goes with the next question. {ready.note}".strip()
                )
            case "/model" if rest:
                asyncio.run(self._workspace.load(rest.strip()))
                self._print_line(f"Loading {rest.strip()}.")
                self._wait()
            case "/again":
                self._ask(conversation.regenerate)
            case _ if line.startswith("/") and not line.startswith("//"):
                self._print_line(f"There is no command {name}. /help lists them.")
            case _ if line or conversation.history.waiting:
                words = line.removeprefix("/").encode(errors="replace").decode()
                self._ask(lambda: conversation.send(words))

    def _ask(self, question: Callable[[], set[int]]) -> None:
        if self._workspace.conversation.model is None:
            self._start()
            if self._workspace.conversation.model is None:
                return
        changed = question()
        if not changed:
            self._print_line("There is nothing to answer.")
            return
        self._shown, self._answer = 0, max(changed)
        tiny = catalog.is_demonstration(self._workspace.conversation.model_name)
        self._write("Tiny model: " if tiny else "Gemma: ")
        try:
            self._wait()
        except KeyboardInterrupt:
            self._workspace.conversation.escape()
            self._wait()
        turn = self._workspace.conversation.history.last("model")
        self._write("\n")
        if turn is not None:
            self._print_line(" ".join((*turn.remarks, turn.facts)).strip())
        self._answer = 0

    def _wait(self) -> None:
        """Fold reports until nothing is being done; print what comes of an answer."""
        conversation, busy = self._workspace.conversation, True
        while busy:
            waits = conversation.state in ("loading", "thinking", "answering")
            waits = waits or conversation.pending > 0
            report = self._workspace.client.read(0.1 if waits else 0)
            busy = waits or report is not None
            if report is not None:
                conversation.fold([report])
            if conversation.sending is not None and conversation.sending.host not in self._sent_to:
                self._sent_to.add(conversation.sending.host)
                self._print_line(f"{conversation.sending.words}.")
            self._print_answer()
            while conversation.problems:
                self._print_error(conversation.problems.popleft())

    def _print_answer(self) -> None:
        turn = self._workspace.conversation.history.last("model")
        if self._answer and turn is not None and turn.id >= self._answer:
            new, self._shown = turn.text[self._shown :], len(turn.text)
            self._write(new)

    def _print_line(self, text: str) -> None:
        if text:
            self._write(f"{text}\n")

    def _print_error(self, error: Exception | Problem) -> None:
        problem = error if isinstance(error, Problem) else Problem.of(error)
        self._print_line(f"Error: {problem.words}")
