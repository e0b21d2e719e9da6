"""A model of the Hub that is used as it is: its download, on a thread, and what it tells.

Knows nothing of Textual.
"""

import threading
from collections.abc import Callable

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import catalog
from mlx_gemma4.hub.progress import Progress


class Downloading:
    """A download that runs. One that was stopped goes on where it was when it is begun again.

    Args:
        source: a package of the catalogue that is on the Hub.
        tell: called, from the thread, with each line; at the end with None.

    Attributes:
        lines: how far it is, or why it failed.
        succeeded: whether it has ended well.
        ready: what to say then.
        failed: what to say else.
    """

    def __init__(self, source: str, tell: Callable[[str | None], object]) -> None:
        self.source = source
        self.lines: list[str] = []
        self.succeeded = False
        self.ready = f"{source} is ready, in F2."
        self.failed = f"{source} was not downloaded"
        self._tell = tell
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name="downloading", daemon=True).start()

    def stop(self) -> None:
        """Stop it; what has come stays."""
        self._stopping.set()

    def _run(self) -> None:
        from mlx_gemma4.hub import hub

        package = catalog.packages()[self.source]
        repo, revision = str(package.repo), str(package.revision)
        try:
            found = hub.look_up(repo, revision)
            folder = hub.download(found, revision, self._report, self._stopping.is_set)
            self.succeeded = folder is not None
        except Gemma4Error as error:
            self.lines = [f"{error.title}.", error.cause, error.remedy]
        self._tell(None)

    def _report(self, progress: Progress) -> None:
        line = f"Downloaded {progress.told}"
        if self.lines != [line]:
            self.lines = [line]
            self._tell(line)
