"""The rivals, each as its own command or documentation has it; a process has one of them.

`tesseract:LANGUAGE` reads a whole picture at the size it was drawn: small print would be read
better if it were enlarged first, and the command does not do that. `pocketsphinx` is CMU's
recognizer of 2006 with the US English model inside its package, and without an energy gate, as is
its default. `mlx-whisper:MODEL` and `faster-whisper:MODEL` are OpenAI's Whisper on MLX, and on
CTranslate2 on the CPU; MODEL is a folder or what was fetched from the Hub before, else small.
`mlx-vlm:MODEL` answers with any model that it runs, a folder or `owner/name`, greedily.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..surroundings import revision, versions
from .serve import Absent, Answer, serve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

About = Mapping[str, Any]
# How a page is cut up (tesseract --help-psm): 6 one block of text, 3 whatever it finds. The best of
# 3, 4 and 6 on 12 pages of each set (seed 7, tesseract 5.3.0): with 3 the error rate of tables was
# 0.54 instead of 0.07, with 6 that of columns 0.67 instead of 0.06.
_MODES = {"block": "6", "page": "3"}
# What transformers and mlx-vlm need to know of a tokenizer, by the keys of the published
# tokenizer_config.json of google/gemma-4-12B-it; the demonstration model's folder has no such file.
NAMES = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "boi_token": "<|image>",
    "image_token": "<|image|>",
    "eoi_token": "<image|>",
    "boa_token": "<|audio>",
    "audio_token": "<|audio|>",
    "eoa_token": "<audio|>",
}
# Turns as `builtin_template.chat_text` writes them: pictures, words, sounds.
TEMPLATE = """\
{{ bos_token }}\
{% for message in messages %}\
<|turn>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}\
{% for part in message.content %}\
{% if part.type == 'image' %}<|image|>\
{% elif part.type == 'audio' %}<|audio|>\
{% else %}{{ part.text }}{% endif %}\
{% endfor %}{% endif %}<turn|>
{% endfor %}\
{% if add_generation_prompt %}<|turn>model
{% endif %}"""


def tesseract(language: str) -> tuple[About, Answer]:
    """Find the command and its language, English unless another is named."""
    command = shutil.which("tesseract")
    if command is None:
        raise Absent(
            "The command tesseract was not found.",
            "Mac: brew install tesseract. Debian, Ubuntu: apt install tesseract-ocr.",
        )
    language = language or "eng"
    known = _run(command, "--list-langs").split()
    if missing := [part for part in language.split("+") if part not in known]:
        raise Absent(
            f"Tesseract is there without its data for {missing[0]}.",
            "Mac: brew install tesseract-lang. Debian, Ubuntu: apt install "
            f"tesseract-ocr-{missing[0].replace('_', '-')}.",
        )

    def answer(asked: Mapping[str, Any]) -> str:
        options = ("stdout", "-l", language, "--psm", _MODES[asked["layout"] or "page"])
        return "\n".join(_run(command, image, *options) for image in asked["images"]).strip()

    version = _run(command, "--version").split()[1]
    return {"revision": language, "versions": {"tesseract": version}}, answer


def _run(*command: str) -> str:
    # one thread: with more, a page took three to four times as long on two busy cores
    alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(command, env=alone, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}")
    return done.stdout


def pocketsphinx(_: str) -> tuple[About, Answer]:
    """Load its own model, of English with a large vocabulary."""
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL")

    def hear(file: str) -> str:
        decoder.start_utt()
        decoder.process_raw(_pcm(file), full_utt=True)  # levelled by itself, not by what was before
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    installed = versions(("pocketsphinx",))
    return {"revision": installed["pocketsphinx"], "versions": installed}, _each(hear)


def mlx_whisper(model: str) -> tuple[About, Answer]:
    import mlx_whisper as library
    from huggingface_hub import snapshot_download

    name = "mlx-community/whisper-small-mlx"
    folder = _fetched(model or name, snapshot_download, "mlx-whisper", name)

    def hear(file: str) -> str:
        heard = library.transcribe(_samples(file), path_or_hf_repo=str(folder))
        return str(heard["text"]).strip()

    about = {"revision": revision(folder), "versions": versions(("mlx-whisper", "mlx"))}
    return about, _each(hear)


def faster_whisper(model: str) -> tuple[About, Answer]:
    """Load a model; its weights are rounded to 8 bits, as its authors advise for a CPU."""
    import faster_whisper as library

    small = "Systran/faster-whisper-small"
    folder = _fetched(model or "small", library.download_model, "faster-whisper", small)
    whisper = library.WhisperModel(str(folder), device="cpu", compute_type="int8")

    def hear(file: str) -> str:
        segments, _ = whisper.transcribe(_samples(file))
        return " ".join(segment.text.strip() for segment in segments)

    known = versions(("faster-whisper", "ctranslate2"))
    return {"revision": revision(folder), "versions": known}, _each(hear)


def _fetched(model: str, find: Callable[..., object], rival: str, small: str) -> Path:
    """Find a model on this machine; nothing is fetched in the middle of a run."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(str(find(model, local_files_only=True)))
    except (ValueError, HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise Absent(
            f"There is no Whisper {model} on this machine.",
            f"{sys.executable} -c \"import huggingface_hub as h; h.snapshot_download('{small}')\", "
            f"or name a folder: --against {rival}:FOLDER.",
        ) from error


def _each(hear: Callable[[str], str]) -> Answer:
    """Answer with what is heard in each sound."""
    return lambda asked: " ".join(filter(None, map(hear, asked["sounds"])))


def _pcm(file: str) -> bytes:
    """The samples of a WAV file that `rival.py` wrote: 16 kHz, mono, int16, little-endian."""
    with wave.open(file) as sound:
        samples: bytes = sound.readframes(sound.getnframes())
    return samples


def _samples(file: str) -> "NDArray[np.float32]":
    """The same as (n,) numbers in [-1, 1), for a rival that has numpy."""
    import numpy as np

    return np.frombuffer(_pcm(file), "<i2").astype(np.float32) / np.float32(32768)


def mlx_vlm(model: str) -> tuple[About, Answer]:
    """Drive it by what its documentation shows: load, apply_chat_template, generate."""
    from mlx_vlm import apply_chat_template, generate, load
    from mlx_vlm.utils import get_model_path

    if not model:
        raise Absent("No model is named.", "Write mlx-vlm:MODEL.")
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise Absent(f"There is no folder {model}.", "Check the path.")
    folder = Path(get_model_path(model))
    with tempfile.TemporaryDirectory() as place:
        loaded, processor = load(str(completed(folder, Path(place))))
    eyes = getattr(processor, "image_processor", None)
    usual = getattr(eyes, "max_soft_tokens", None)  # Gemma 4 has such a budget, others have none

    def answer(asked: Mapping[str, Any]) -> str:
        said = [{"role": "system", "content": asked["before"]}] if asked["before"] else []
        images, sounds = asked["images"], asked["sounds"]
        prompt = apply_chat_template(
            processor,
            loaded.config,
            [*said, {"role": "user", "content": asked["text"]}],
            num_images=len(images),
            num_audios=len(sounds),
        )
        if eyes is not None and usual is not None:
            eyes.max_soft_tokens = asked["image_tokens"] or usual
        result = generate(
            loaded,
            processor,
            prompt,
            image=images or None,
            audio=sounds or None,
            max_tokens=asked["most"],
            temperature=0.0,
        )
        return str(result.text).strip()

    known = versions(("mlx-vlm", "mlx", "transformers"))
    about = {"revision": revision(folder), "versions": known, "budgets": usual is not None}
    return about, answer


def completed(folder: Path, place: Path) -> Path:
    """Return a folder that transformers can make a processor of: this one, or one in `place` with
    its files and the names and turns that it lacks."""
    if (folder / "tokenizer_config.json").is_file():
        return folder
    for file in folder.iterdir():
        (place / file.name).symlink_to(file.resolve())
    names = {**NAMES, "chat_template": TEMPLATE}
    (place / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
    return place


RIVALS: Mapping[str, Callable[[str], tuple[About, Answer]]] = {
    "tesseract": tesseract,
    "pocketsphinx": pocketsphinx,
    "mlx-whisper": mlx_whisper,
    "faster-whisper": faster_whisper,
    "mlx-vlm": mlx_vlm,
}


def start(name: str, model: str) -> tuple[About, Answer]:
    if model.startswith("~"):  # no shell expands mlx-vlm:~/model
        model = str(Path(model).expanduser())
    try:
        return RIVALS[name](model)
    except ModuleNotFoundError as error:
        raise Absent(
            f"The Python package {error.name} is not installed.",
            f"pip install 'mlx-gemma4[{name}]', or name the Python that has it with --python.",
        ) from error


if __name__ == "__main__":
    _, name, model = sys.argv
    serve(lambda: start(name, model))
