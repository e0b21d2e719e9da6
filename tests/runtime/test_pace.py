from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_gemma4.runtime.pace import FRAME_SECONDS, LONGEST, SHORTEST, Pace


def speak(seconds: float, once: float, each: float) -> tuple[Pace, list[int], list[int]]:
    """Hear for so long on a machine where a chunk of n frames takes once + n * each seconds.

    Returns:
        The pace; the chunks; and the frames that waited after each.
    """
    pace, now, read = Pace(), 0.0, 0
    chunks: list[int] = []
    waiting: list[int] = []
    while now < seconds and not pace.behind:
        now = max(now, (read + pace.frames) * FRAME_SECONDS)
        frames = min(int(now / FRAME_SECONDS + 1e-6) - read, LONGEST)
        took = once + frames * each
        now, read = now + took, read + frames
        pace.count(frames, took)
        chunks.append(frames)
        waiting.append(int(now / FRAME_SECONDS) - read)
    return pace, chunks, waiting


def test_a_fast_machine_reads_every_400_ms() -> None:
    pace, chunks, _ = speak(20, once=0.02, each=0.001)
    assert set(chunks) == {SHORTEST}
    assert SHORTEST * FRAME_SECONDS == 0.4
    assert not pace.behind


def test_a_machine_on_which_every_chunk_is_dear_reads_larger_ones_and_keeps_up() -> None:
    pace, chunks, waiting = speak(60, once=0.5, each=0.002)
    assert not pace.behind
    assert chunks[-1] > 2 * SHORTEST
    assert max(waiting) <= LONGEST


def test_a_machine_that_is_slower_than_speech_is_found_out_and_the_backlog_is_bounded() -> None:
    pace, chunks, waiting = speak(600, once=0.1, each=0.05)
    assert pace.behind
    assert pace.speed < 1
    assert len(chunks) < 12
    assert max(waiting) <= 2 * LONGEST


@settings(deadline=None)
@given(st.floats(0.001, 2), st.floats(0.0001, 0.1))
def test_who_can_keep_up_in_the_longest_chunks_is_never_said_to_be_behind(
    once: float, each: float
) -> None:
    longest = (once + LONGEST * each) / FRAME_SECONDS  # frames that come during such a chunk
    pace, _, waiting = speak(300, once, each)
    assert pace.behind == (longest > LONGEST)
    assert max(waiting) <= 4 * max(LONGEST, longest)


@settings(deadline=None)
@given(st.floats(0.001, 1), st.floats(0.0001, 0.03))
def test_the_chunk_settles(once: float, each: float) -> None:
    pace, chunks, _ = speak(300, once, each)
    assert pace.behind or len(set(chunks[-5:])) <= 2
