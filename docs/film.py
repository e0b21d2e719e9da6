"""Make the README's pictures of the real program with the tiny model: `python -m docs.film`.

The program starts as it does the first time, with a worker in a process of its own, and its two
questions are sent. `docs/first.svg` is the end; `docs/first-film.svg` shows one moment after the
other. The answers and every figure are what the program showed, on the machine that made them.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["GEMMA4_PICTURES"] = "blocks"

from app.app import TerminalApp  # noqa: E402
from app.conversation.store import ConversationStore  # noqa: E402
from app.widgets.card import ErrorCard  # noqa: E402
from app.workspace import Workspace  # noqa: E402
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker  # noqa: E402

FOLDER = Path(__file__).parent
SIZE = (100, 32)
SHOWN = 3.0  # seconds of each moment
TITLE = "gemma4, with the tiny demonstration model"


async def moments() -> list[str]:
    """The program at its first start, before and after each of the two questions, as SVG."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        worker = SubprocessWorker(folder / "log")
        store = ConversationStore(folder / "conversations")
        app = TerminalApp(Workspace(worker, store, folder / "config"))
        async with app.run_test(size=SIZE) as pilot:

            async def until(holds: Callable[[], object]) -> None:
                for _ in range(1500):
                    if holds():
                        break
                    await asyncio.sleep(0.1)
                else:
                    raise SystemExit("the program did not come to that")
                for _ in range(10):
                    await pilot.pause(0.1)
                app.chat.prompt.cursor_blink = False
                found.append(app.export_screenshot(title=TITLE))

            await until(
                lambda: (
                    "what is the total?" in app.chat.prompt.text
                    and app.workspace.conversation.state == "ready"
                )
            )
            for question in (2, 4):
                await pilot.press("enter")
                turns = app.workspace.conversation.history.turns
                await until(lambda n=question, t=turns: n in t and t[n].over)  # type: ignore[misc]
            found.pop()  # the last one shows the offer of the 12B, too, whenever that comes
            await until(lambda: app.chat.query(ErrorCard))
        app.end_worker()
    return found


def film(pictures: list[str]) -> str:
    """One SVG that shows the pictures one after the other, and starts again."""
    total = SHOWN * len(pictures)
    part = 100 / len(pictures)
    parts = []
    for number, picture in enumerate(pictures):
        start = number * SHOWN
        parts.append(f'<g class="moment" style="animation-delay:{start:g}s">{_inner(picture)}</g>')
    box = re.search(r'viewBox="([^"]+)"', pictures[0])
    assert box is not None
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box[1]}">\n<style>'
        f".moment{{opacity:0;animation:moment {total:g}s steps(1) infinite}}"
        f"@keyframes moment{{0%{{opacity:1}}{part:.3f}%{{opacity:0}}100%{{opacity:0}}}}"
        f"@media (prefers-reduced-motion){{.moment{{animation:none}}"
        f".moment:last-child{{opacity:1}}}}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _inner(picture: str) -> str:
    """What is inside an SVG's outermost element, without fonts from outside."""
    inner = picture[picture.index(">", picture.index("<svg")) + 1 : picture.rindex("</svg>")]
    return _own_fonts(inner)


def _own_fonts(picture: str) -> str:
    """Without fonts from outside: what shows it has one of its own."""
    return re.sub(r"@font-face\s*\{.*?\}", "", picture, flags=re.S)


def main() -> None:
    """Run the program and write both pictures."""
    pictures = asyncio.run(moments())
    (FOLDER / "first.svg").write_text(_own_fonts(pictures[-1]), encoding="utf-8")
    (FOLDER / "first-film.svg").write_text(film(pictures), encoding="utf-8")


if __name__ == "__main__":
    main()
