"""mlx-vlm as a rival: `mlx-vlm:MODEL` answers with any model that it runs, greedily.

MODEL is a folder or `owner/name` on the Hub. It is driven by what mlx-vlm's documentation shows:
load, apply_chat_template, generate.
"""

import json
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlx_gemma4.evaluate.baselines.serve import Absent, Answer, serve
from mlx_gemma4.evaluate.surroundings import revision, versions

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


def start(model: str) -> tuple[Mapping[str, Any], Answer]:
    try:
        from mlx_vlm import apply_chat_template, generate, load
        from mlx_vlm.utils import get_model_path
    except ModuleNotFoundError as error:
        raise Absent(
            f"The Python package {error.name} is not installed.",
            "pip install 'mlx-gemma4[mlx-vlm]', or mlx-vlm into an environment of its own, whose "
            "Python is named with --python.",
        ) from error
    if not model:
        raise Absent("No model is named.", "Write mlx-vlm:MODEL.")
    if model.startswith((".", "/", "~")) and not Path(model).expanduser().is_dir():
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

    known = {"mlx-vlm": version("mlx-vlm"), **versions(("mlx", "transformers"))}
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


if __name__ == "__main__":
    serve(start)
