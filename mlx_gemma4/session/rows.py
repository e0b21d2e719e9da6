"""What the rows of a prompt hold: which of them a cache has already, and what must still be fed.

Knows nothing of MLX. One row is one token.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence

from ..chat.builtin_template import shown
from ..chat.messages import ImagePart, Part, SoundPart, Turn, VideoPart
from ..chat.render import Prompt
from ..model.config import Config

Row = Hashable
"""A token's id; for a patch its picture or video (the object); for a frame of sound its digest."""


def rows_of(prompt: Prompt, turns: Sequence[Turn], config: Config) -> list[Row]:
    """Name each row of the prompt that was made of these turns; equal names are equal rows.

    Pictures are told apart as objects, and sound by its content, since a clip can grow.
    """
    media = (row for turn in turns for part in shown(turn) for row in _rows_of_part(part))
    places = {config.image_token_id, config.audio_token_id, config.video_token_id}
    return [next(media) if token in places else token for token in prompt.token_ids]


def common(left: Sequence[Row], right: Sequence[Row]) -> int:
    """Count the rows that are equal from the beginning on."""
    pairs = zip(left, right, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def between(prompt: Prompt, start: int, stop: int, config: Config) -> Prompt:
    """Give rows `start` to `stop` of a prompt; both may lie inside a clip, not inside a picture."""

    def reached(row: int) -> tuple[int, int, int, int]:
        """How many pictures, video frames, clips and frames of the next clip lie before a row."""
        seen = prompt.token_ids[:row]
        image, _ = _first_left(
            (len(p) for p, _ in prompt.images), seen.count(config.image_token_id)
        )
        film, _ = _first_left((len(p) for p, _ in prompt.videos), seen.count(config.video_token_id))
        return image, film, *_first_left(map(len, prompt.audio), seen.count(config.audio_token_id))

    image, film, clip, heard = reached(start)
    last_image, last_film, last_clip, part = reached(stop)
    audio = prompt.audio[clip:last_clip]
    if part:
        audio = [*audio, prompt.audio[last_clip][:part]]
    if heard and audio:
        audio[0] = audio[0][heard:]
    return Prompt(
        prompt.token_ids[start:stop],
        prompt.images[image:last_image],
        prompt.videos[film:last_film],
        audio,
    )


def _first_left(sizes: Iterable[int], seen: int) -> tuple[int, int]:
    """Give the first medium of which rows are left, and how many of its rows are seen."""
    index = -1
    for index, size in enumerate(sizes):
        if seen < size:
            return index, seen
        seen -= size
    return index + 1, 0


def _rows_of_part(part: Part) -> Iterator[Row]:
    match part:
        case ImagePart(picture):
            yield from [part] * len(picture.patches)
        case VideoPart(frames):
            yield from [part] * sum(len(picture.patches) for _, picture in frames)
        case SoundPart():
            yield from part.digests
