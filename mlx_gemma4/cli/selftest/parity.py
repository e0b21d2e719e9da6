"""Checks of logits: against what transformers computed, and of rows in fewer bits."""

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from ...chat.tokenizer import Tokenizer
from ...checkpoint.load import load_folder
from ...errors import Gemma4Error
from ...evaluate.logits import written
from ...evaluate.models import OurModel
from ...hub import catalog
from ...model.config import Config
from ...model.gemma4 import Gemma4
from . import random_checkpoint
from .answers import KNOWN
from .check import Outcome, judged
from .reference import SHIPPED, Reference, ReferenceCase, of_model, read

MOST = {mx.float32: 2e-3, mx.bfloat16: 0.7}
"""The largest difference of a logit; the standard deviation of those of `random` is about 5."""
AGREEMENT = {mx.float32: 1.0, mx.bfloat16: 0.97}
"""The share of tokens after which the same id is the likeliest."""
DECIDED = {mx.float32: 1e-2, mx.bfloat16: 0.125}
"""Where the reference's first two logits are nearer, the other one may be chosen: bfloat16 has 8
bits, so that logits from 8 to 16 are multiples of 1/16."""
QUANTIZED = {8: (0.97, 0.03), 4: (0.8, 0.4)}
"""Bits of the full layers' rows: the least agreement, and the most mean difference of a logit."""
CHUNK = 16


class CaseMedia(TypedDict):
    """What `Gemma4.embed` takes beside ids."""

    images: Sequence[Any]
    videos: Sequence[Any]
    audio: Sequence[Any]


def random(dtype: mx.Dtype, _: OurModel) -> Outcome:
    """Compare the small random checkpoint with transformers, read whole and in chunks."""
    return compared(_random(dtype), read(SHIPPED / "random.npz"), dtype, random_media)


def tiny(dtype: mx.Dtype, _: OurModel) -> Outcome:
    """Compare the shipped tiny model with transformers."""
    folder = catalog.resolve(catalog.DEMONSTRATION)
    model, tokenizer = load_folder(folder, dtype), Tokenizer.from_folder(folder)
    media = functools.partial(known_media, model.config, tokenizer)
    return compared(model, read(SHIPPED / "tiny.npz"), dtype, media)


def chosen(subject: OurModel) -> Outcome:
    """Compare the chosen model with what was recorded for it, in the type of its weights."""
    if subject.is_tiny:
        return Outcome("not here", "the tiny model has rows of its own")
    reference = of_model(subject.folder)
    if reference is None:
        return Outcome(
            "not here", "no reference of this model was recorded: gemma4 selftest --record"
        )
    if subject.model.config.quantization is not None:
        return Outcome("not here", "its weights are quantized, the reference's are not")
    dtype = subject.model.language_model.model.norm.weight.dtype
    media = functools.partial(known_media, subject.model.config, subject.tokenizer)
    return compared(subject.model, reference, dtype, media)


def compared(
    model: Gemma4,
    reference: Reference,
    dtype: mx.Dtype,
    media: Callable[[ReferenceCase], CaseMedia],
) -> Outcome:
    """Compare every token's likeliest logits, of one forward and of chunks that share a cache."""
    rule, model.mask_rule = model.mask_rule, reference.rule
    most, same, decided = 0.0, 0, 0
    try:
        for case in reference.cases:
            given = media(case)
            whole = np.array(model.forward(case.ids, **given)[0].astype(mx.float32))
            for logits in (whole, _chunked(model, case, given)):
                ours = np.take_along_axis(logits, case.top, axis=-1)
                most = max(most, float(np.abs(ours - case.logits).max()))
                sure = case.logits[:, 0] - case.logits[:, 1] > DECIDED[dtype]
                same += int((logits.argmax(-1) == case.top[:, 0])[sure].sum())
                decided += int(sure.sum())
    finally:
        model.mask_rule = rule
    agreement = same / decided
    return judged(
        most <= MOST[dtype] and agreement >= AGREEMENT[dtype],  # a NaN fails
        f"logits differ by {most:.2g} at most ({MOST[dtype]:g} allowed), "
        f"{100 * agreement:.1f} % of {decided:,} decided first choices are equal",
        largest_difference=most,
        agreement=agreement,
    )


def quantized_rows(bits: int, _: OurModel) -> Outcome:
    """Compare full layers' rows in fewer bits with rows as computed, on the random checkpoint."""
    model = _random(mx.float32)
    same, differences = [], []
    for case in read(SHIPPED / "random.npz").cases:
        given = random_media(case)
        exact, rough = (_chunked(model, case, given, kept) for kept in (None, bits))
        same.append(exact.argmax(-1) == rough.argmax(-1))
        differences.append(np.abs(exact - rough).mean(-1))
    agreement = float(np.concatenate(same).mean())
    mean = float(np.concatenate(differences).mean())
    least, most = QUANTIZED[bits]
    return judged(
        agreement >= least and 1e-4 < mean <= most,  # equal rows were not quantized
        f"logits differ by {mean:.2g} in the mean ({most:g} allowed), "
        f"{100 * agreement:.1f} % of first choices are equal",
        mean_difference=mean,
        agreement=agreement,
    )


def random_media(case: ReferenceCase) -> CaseMedia:
    named = random_checkpoint.MEDIA[case.name]
    return {
        "images": [random_checkpoint.picture(*spec) for spec in named.images],
        "videos": [random_checkpoint.picture(*spec) for spec in named.videos],
        "audio": [random_checkpoint.clip(*spec) for spec in named.audio],
    }


def known_media(config: Config, tokenizer: Tokenizer, case: ReferenceCase) -> CaseMedia:
    """Read a known question's media, as a session does, or raise: its ids are others here."""
    ids, media = known_prompt(config, tokenizer, case.name)
    if ids != case.ids.tolist():
        raise Gemma4Error(
            "selftest_prompt",
            "A prompt is written in other ids",
            f"The {len(ids)} ids of {case.name!r} are not the {len(case.ids)} of the reference.",
            "Compare tokenizer.json and the chat template with the published ones.",
        )
    return media


def known_prompt(config: Config, tokenizer: Tokenizer, name: str) -> tuple[list[int], CaseMedia]:
    """Return the ids of a question of KNOWN with its right answer, and its media."""
    asked = KNOWN[name]()
    prompt = written(config, tokenizer, asked)
    ids = [*map(int, prompt.token_ids), *tokenizer.encode(asked.wanted)]
    return ids, {"images": prompt.images, "videos": [], "audio": prompt.audio}


@functools.cache
def _random(dtype: mx.Dtype) -> Gemma4:
    with tempfile.TemporaryDirectory() as folder:
        random_checkpoint.write_checkpoint(Path(folder))
        return load_folder(folder, dtype)


def _chunked(
    model: Gemma4, case: ReferenceCase, media: CaseMedia, kv_bits: int | None = None
) -> NDArray[np.float32]:
    inputs, cache = model.embed(case.ids, **media), model.make_cache(kv_bits)
    parts = []
    for start, stop in inputs.cuts(CHUNK):
        hidden = model.hidden(inputs.slice(start, stop), cache)
        parts.append(np.array(model.logits(hidden)[0].astype(mx.float32)))
    return np.concatenate(parts)
