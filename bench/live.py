"""How soon after the end of speech the answer starts: heard live, and as mlx-vlm does it.

    python bench/live.py [--seconds 5 30] [--rounds 5] [--openblas] [--json FILE]

Both sides have the same random checkpoint, read the same prompt with the same sound, and must draw
the same first token. Ours gets the frames while they are spoken, in chunks of 400 ms, and after the
end of speech the last chunk and the question's end; mlx-vlm gets the whole prompt at the end, as it
does. Nobody waits for the clock: only work is measured. How to read it: bench/README.md.
"""

import json
import statistics
import sys
from dataclasses import asdict, dataclass, field

import checkpoint
import processes
from processes import Worker, progress

from mlx_gemma4.cli.speed_result import spread

FRAMES_A_SECOND = 25


@dataclass
class Length:
    """One length of speech: a value a round, times in seconds.

    From the end of speech to the first token (`ours`, `peer`); all processor time for the turn
    (`ours_work`, `peer_work`); a chunk of 10 frames at either end of the speech (`first`, `last`).
    """

    seconds: float
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    ours_work: list[float] = field(default_factory=list)
    peer_work: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)

    def measure(self, ours: Worker, peer: Worker) -> None:
        """One round: ours, then the peer."""
        frames = round(self.seconds * FRAMES_A_SECOND)
        live = ours.ask("live", frames=frames)
        result = live["result"]
        whole = peer.ask("one_shot", ids=result["ids"], frames=frames)
        if result["token"] != whole["result"]["token"]:
            sys.exit(
                f"The two do not draw the same: {result['token']}, {whole['result']['token']}."
            )
        self.ours.append(result["after_speech"])
        self.peer.append(whole["result"]["after_speech"])
        self.ours_work.append(live["cpu_seconds"])
        self.peer_work.append(whole["cpu_seconds"])
        self.first.append(statistics.median(result["chunks"][1:4]))  # the very first reads more
        self.last.append(statistics.median(result["chunks"][-3:]))

    def forget(self) -> None:
        """Discard the round that warmed up."""
        for values in (self.ours, self.peer, self.ours_work, self.peer_work):
            values.clear()
        self.first.clear()
        self.last.clear()


def figure(values: list[float]) -> str:
    return spread(values, ".3f")


def ratio(above: list[float], below: list[float]) -> str:
    """The quotient, round by round."""
    return spread([a / b for a, b in zip(above, below, strict=True)], ".2f")


def report(lengths: list[Length]) -> None:
    print("| speech | first token, ours, s | first token, mlx-vlm, s | mlx-vlm / ours |")
    print("|---|---|---|---|")
    for one in lengths:
        times = f"{figure(one.ours)} | {figure(one.peer)} | {ratio(one.peer, one.ours)}"
        print(f"| {one.seconds:g} s | {times} |")
    short, long = lengths[0], lengths[-1]
    print("\n| | measured | wanted |\n|---|---|---|")
    print(f"| mlx-vlm / ours after {long.seconds:g} s | {ratio(long.peer, long.ours)} | >= 10 |")
    name = f"ours after {long.seconds:g} s / after {short.seconds:g} s"
    print(f"| {name} | {ratio(long.ours, short.ours)} | <= 1.5 |")
    name = f"a chunk of 10 frames, last / first of {long.seconds:g} s"
    print(f"| {name} | {ratio(long.last, long.first)} | <= 1.3 |")
    for one in lengths:
        work = f"{figure(one.ours_work)}, mlx-vlm's {figure(one.peer_work)}"
        print(f"| processor time for {one.seconds:g} s, ours | {work} | |")


def main() -> None:
    parser = processes.options(__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5, 30])
    parser.add_argument("--shape", choices=checkpoint.SHAPES, default="middle")
    options = parser.parse_args()
    around = processes.start(options)
    print(f"checkpoint: {options.shape}; activations: {options.dtype}\n", flush=True)
    folder = options.folder / options.shape
    checkpoint.make(folder, checkpoint.SHAPES[options.shape])
    lengths = [Length(seconds) for seconds in options.seconds]
    with (
        Worker("ours", options.peer_python) as ours,
        Worker("peer", options.peer_python) as peer,
    ):
        for side in (ours, peer):
            side.ask("load", folder=str(folder), dtype=options.dtype)
        for number in range(options.rounds + 1):
            for one in lengths:
                one.measure(ours, peer)
                if not number:
                    one.forget()
            progress(f"round {number} of {options.rounds}")
    report(lengths)
    if options.json:
        record = {"surroundings": around, "lengths": [asdict(one) for one in lengths]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
