"""Write the commit of a package into the catalogue that lists it; all else in the file stays."""

from pathlib import Path

from ..errors import Gemma4Error
from ..hub import catalog, disk

_PROGRAM = Path(__file__).parents[1]


def check(name: str) -> None:
    """Raise Gemma4Error: it has no repository, or an installed program's catalogue lists it."""
    package = catalog.packages().get(name)
    if package is None or package.repo is None:
        raise _impossible(
            f"{name} is no package of the catalogue with a repository.",
            f"Write it into {catalog.user_file()} first, or leave --pin out.",
        )
    if package.catalogue.parent == _PROGRAM:
        raise _impossible(
            f"{package.catalogue} belongs to the installed program.",
            f"Copy the table of {name} into {catalog.user_file()}, which wins.",
        )


def pin(name: str, commit: str) -> Path:
    """Make `commit` (40 hex digits) a package's revision; return the file that was changed."""
    import tomlkit  # which nothing but --pin needs

    check(name)
    path = catalog.packages()[name].catalogue
    document = tomlkit.parse(path.read_text(encoding="utf-8-sig"))
    document[name]["revision"] = commit
    disk.write(path, tomlkit.dumps(document).encode())
    catalog.packages.cache_clear()
    return path


def _impossible(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("pin_impossible", "The package cannot be pinned", cause, remedy)
