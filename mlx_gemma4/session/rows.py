"""What the rows of a prompt hold, so that a cache knows which of them it has already.

Knows nothing of MLX. One row is one token.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..chat.builtin_template import shown
from ..chat.messages import ImagePart, Part, SoundPart, Turn, VideoPart
from ..chat.render import Prompt
from ..model.config import Config

Row = int | str | bytes
"""A token's id; for a patch its picture's digest; for a frame of sound its own digest."""


@dataclass(frozen=True, eq=False)
class PromptRows:
    """A prompt, with what each of its rows holds."""

    prompt: Prompt
    rows: list[Row]
    config: Config

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, start: int, stop: int) -> Prompt:
        """Rows `start` to `stop`; both may be inside a clip, not inside a picture."""
        prompt = self.prompt
        image, frame, clip, heard = self._reached(start)
        last_image, last_frame, last_clip, part = self._reached(stop)
        audio = prompt.audio[clip:last_clip]
        if part:
            audio = [*audio, prompt.audio[last_clip][:part]]
        if heard and audio:
            audio[0] = audio[0][heard:]
        return Prompt(
            prompt.token_ids[start:stop],
            prompt.images[image:last_image],
            prompt.videos[frame:last_frame],
            audio,
        )

    def segment(self, start: int, stop: int, most: int) -> int:
        """Where to end a segment of about `most` rows: not inside a picture, nor after `stop`."""
        end, rows = min(start + most, stop), self.rows
        while end < stop and isinstance(rows[end], str) and rows[end] == rows[end - 1]:
            end += 1
        return end

    def _reached(self, row: int) -> tuple[int, int, int, int]:
        """How many pictures, video frames, clips and frames of the next clip are before a row."""
        prompt, config, seen = self.prompt, self.config, self.prompt.token_ids[:row]
        images, videos = (len(p) for p, _ in prompt.images), (len(p) for p, _ in prompt.videos)
        image, _ = _first_left(images, seen.count(config.image_token_id))
        frame, _ = _first_left(videos, seen.count(config.video_token_id))
        return image, frame, *_first_left(map(len, prompt.audio), seen.count(config.audio_token_id))


def with_rows(prompt: Prompt, turns: Sequence[Turn], config: Config) -> PromptRows:
    """The prompt that was made of these turns, with its rows.

    A clip can grow, so each of its frames has a row of its own; a picture is there as a whole.
    """
    media = (row for turn in turns for part in shown(turn) for row in _rows_of_part(part))
    places = {config.image_token_id, config.audio_token_id, config.video_token_id}
    rows = [next(media) if token in places else token for token in prompt.token_ids]
    return PromptRows(prompt, rows, config)


def common(left: Sequence[Row], right: Sequence[Row]) -> int:
    """Count the rows that are equal from the first on."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:  # the first `low` are equal, the first `high` are not
        middle = (low + high) // 2
        equal = left[low:middle] == right[low:middle]
        low, high = (middle, high) if equal else (low, middle)
    return low


def _first_left(sizes: Iterable[int], seen: int) -> tuple[int, int]:
    """The first medium of which rows are left, and how many of its rows are seen."""
    index = -1
    for index, size in enumerate(sizes):
        if seen < size:
            return index, seen
        seen -= size
    return index + 1, 0


def _rows_of_part(part: Part) -> Iterator[Row]:
    match part:
        case ImagePart(picture):
            yield from [picture.digest] * len(picture.patches)
        case VideoPart(frames):
            for _, picture in frames:
                yield from [picture.digest] * len(picture.patches)
        case SoundPart():
            yield from part.digests
