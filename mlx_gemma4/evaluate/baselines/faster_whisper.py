"""OpenAI's Whisper on CTranslate2 as a rival, on the CPU: `faster-whisper:MODEL`.

MODEL is a folder with model.bin, or a size or repository of the Hub that was fetched before;
without it Whisper small.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..surroundings import revision, versions
from .serve import Absent, Answer, serve
from .waves import samples

_MODEL = "small"


def begin(model: str) -> tuple[Mapping[str, Any], Answer]:
    """Load a model; its weights are rounded to 8 bits, as its authors advise for a CPU."""
    try:
        import faster_whisper
    except ModuleNotFoundError as error:
        raise Absent.package(error, "faster-whisper") from error
    folder = _folder(model or _MODEL)
    whisper = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="int8")

    def answer(asked: Mapping[str, Any]) -> str:
        heard = []
        for file in asked["sounds"]:
            segments, _ = whisper.transcribe(samples(file))
            heard += [segment.text.strip() for segment in segments]
        return " ".join(heard)

    about = versions(("faster-whisper", "ctranslate2"))
    return {"revision": revision(folder), "versions": about}, answer


def _folder(model: str) -> Path:
    """Find a model on this machine; nothing is fetched in the middle of a run."""
    from faster_whisper import download_model
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(download_model(model, local_files_only=True))
    except (ValueError, HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise Absent(
            f"There is no Whisper {model} on this machine.",
            "hf download Systran/faster-whisper-small, or give a folder: "
            "--against faster-whisper:FOLDER.",
        ) from error


if __name__ == "__main__":
    serve(begin)
