"""OpenAI's Whisper on MLX as a rival, as its own command hears: `mlx-whisper:MODEL`.

MODEL is a folder or a repository of the Hub that was fetched before; without it Whisper small.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..surroundings import revision, versions
from .serve import Absent, Answer, serve
from .waves import samples

_MODEL = "mlx-community/whisper-small-mlx"


def begin(model: str) -> tuple[Mapping[str, Any], Answer]:
    """Load a model."""
    try:
        import mlx_whisper
    except ModuleNotFoundError as error:
        raise Absent.package(error, "mlx-whisper") from error
    folder = _folder(model or _MODEL)

    def answer(asked: Mapping[str, Any]) -> str:
        heard = []
        for file in asked["sounds"]:
            told = mlx_whisper.transcribe(samples(file), path_or_hf_repo=str(folder))
            heard.append(str(told["text"]).strip())
        return " ".join(heard)

    about = {"revision": revision(folder), "versions": versions(("mlx-whisper", "mlx"))}
    return about, answer


def _folder(model: str) -> Path:
    """Find a model on this machine; nothing is fetched in the middle of a run."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise Absent(
            f"There is no Whisper {model} on this machine.",
            f"hf download {_MODEL}, or give a folder: --against mlx-whisper:FOLDER.",
        ) from error


if __name__ == "__main__":
    serve(begin)
