"""What the caches of a session hold, and whose they are."""

from collections.abc import Callable, Sequence

from .input import SessionInput
from .prefix_cache import PrefixCache
from .rows import Row


class SessionCaches(SessionInput):
    """The part of a `Session` that knows its caches."""

    def set_chunk(self, chunk: Callable[[], int]) -> None:
        """Have a function asked for the tokens in each chunk of prefill, instead of CHUNK.

        Shorter chunks let others on the same thread work sooner.
        """
        self._conversation.cache.chunk = chunk
        self._conversation.transcriber.cache.chunk = chunk

    @property
    def rows(self) -> Sequence[Row]:
        """What the rows of the conversation hold, in the caches or not."""
        self._interrupt()
        return self._conversation.settled().rows

    @property
    def cache(self) -> PrefixCache:
        """Its prefix cache; reading this ends no reply."""
        return self._conversation.cache

    @property
    def owner(self) -> str:
        """The owner of the parked rows that it found on disk; empty if there were none."""
        return self._conversation.owner

    @property
    def parked(self) -> int:
        """How many rows the store has of the conversation, if that is more than the cache has."""
        self._interrupt()
        return self._conversation.parked()

    def release(self) -> PrefixCache:
        """Let another session have its rows; this one must not be used again."""
        self._interrupt()
        return self.cache

    def use(self, cache: PrefixCache) -> None:
        """Continue with rows that another session has read."""
        self._interrupt()
        cache.chunk = self.cache.chunk
        self._conversation.cache = cache

    @property
    def unread(self) -> int:
        """How many tokens of the conversation are not in the caches, nor in the store."""
        self._interrupt()
        return self._conversation.unread()

    @property
    def context(self) -> tuple[int, int]:
        """How many rows of the context are used, and how many it has."""
        return len(self._conversation.cache), self._conversation.rows

    @property
    def nbytes(self) -> int:
        """Bytes of the caches, with their free room."""
        return self.cache.nbytes + self._conversation.transcriber.cache.nbytes
