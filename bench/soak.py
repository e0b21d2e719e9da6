"""Two hours of conversation in some minutes: does memory stay flat, and is every event shown?

    python bench/soak.py [--turns 2000] [--json FILE]

A `ScriptedWorker` answers as fast as it is asked, with a picture in every 20th question. Printed
every so many turns: resident memory, widgets, and the seconds that a turn took. At the end every
answer is compared with the script, and the journal with what was shown.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.app.host import chart, staged  # noqa: E402

ANSWERS = [
    f"Answer {number}: " + " ".join(f"word{word}" for word in range(40 + number))
    + "\n\n- one\n- two\n\n```python\nprint(1)\n```\n"
    for number in range(17)
]  # fmt: skip
STEP = 200


def resident() -> float:
    """Memory of this process, in MB (/proc/self/statm, or the most there was)."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


async def soak(turns: int, folder: Path) -> list[dict[str, float]]:
    """Hold the conversation."""
    rows = []
    async with staged(folder, ANSWERS, size=(120, 40)) as stage:
        chat, conversation = stage.app.chat, stage.app.workspace.conversation
        picture = chart(folder)
        started = time.monotonic()
        print("| turns | seconds | resident MB | widgets |\n|---|---|---|---|", flush=True)
        for turn in range(1, turns + 1):
            if turn % 20 == 0:
                chat.busy(chat.media.files([picture]))
                await stage.until(lambda: conversation.history.waiting)
            count = len(conversation.history.turns)
            chat.send(f"question {turn}")
            while len(conversation.history.turns) < count + 2 or conversation.state != "ready":
                await asyncio.sleep(0.005)
            answer = chat.transcript.answer(2 * turn)
            while answer is not None and not answer.settled:
                await asyncio.sleep(0.005)
            if turn % STEP == 0 or turn == turns:
                row = {
                    "turns": turn,
                    "seconds": time.monotonic() - started,
                    "resident": resident(),
                    "widgets": len(chat.query("*")),
                }
                rows.append(row)
                print(
                    f"| {turn} | {row['seconds']:.0f} | {row['resident']:.1f} | {row['widgets']} |",
                    flush=True,
                )
        said = {number: turn.text for number, turn in conversation.history.turns.items()}
        journal = stage.app.workspace.journal.folder
        name = journal.name
    for number in range(1, turns + 1):
        assert said[2 * number] == ANSWERS[(number - 1) % len(ANSWERS)], f"answer {number}"
        assert said[2 * number - 1] == f"question {number}"
    async with staged(folder) as stage:
        again = stage.app.workspace.open(name)
        kept = {number: turn.text for number, turn in again.history.turns.items()}
        again.close()
    assert kept == said, "the journal has something else than was shown"
    print(f"\nEvery one of {turns} answers was shown as it was said, and is in the journal.")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(soak(options.turns, Path(folder)))
    if len(rows) > 2:
        first, last = rows[1], rows[-1]
        grown = last["resident"] - first["resident"]
        many = last["turns"] - first["turns"]
        print(
            f"{grown:+.1f} MB over the last {many:.0f} turns: {1000 * grown / many:.1f} KB a turn."
        )
    if options.json:
        options.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
