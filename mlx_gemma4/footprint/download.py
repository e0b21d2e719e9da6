"""A download that comes only where the model will fit."""

from pathlib import Path

from ..hub import catalog, hub
from . import device, summary


def download_fitting(name: str, force: bool) -> Path:
    """Download a model into the Hub's cache.

    Args:
        name: of a package of the Hub, or `owner/name` there.
        force: also where it does not fit into the memory.

    Returns:
        Its folder.

    Raises:
        Gemma4Error: it does not fit, or it cannot be downloaded (`hub.download`).
    """
    if not force:
        summary.of(name).check(device.this())
    package = catalog.known(name)
    repo, revision = (package.repo, package.revision) if package else (name, "main")
    folder = hub.download(hub.look_up(str(repo), str(revision)), str(revision))
    assert folder is not None, "nothing here cancels it"
    return folder
