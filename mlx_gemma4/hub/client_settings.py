"""The Hub's own client reads its settings from the environment while it is imported."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Gemma4Error


@contextmanager
def readable() -> Iterator[None]:
    """For importing the client in the `with` block: a wrong setting is a Gemma4Error."""
    try:
        yield
    except ValueError as error:
        raise unusable(str(error)) from error


def unusable(cause: str) -> Gemma4Error:
    return Gemma4Error(
        "hub_settings_unusable",
        "The settings for the Hub cannot be used",
        f"{cause.rstrip('.')}.",
        "Look at the environment's variables that start with HF_, and at SSL_CERT_FILE.",
    )
