import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from app.devices import linux, permissions, screen
from app.devices.permissions import Refused
from app.devices.screen_watcher import ChangeDetector
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import BUDGETS, patches
from tests.app.display import x_server
from tests.app.programs import Program

TAKE = 'echo "$@" > "$TAKEN"; for file; do :; done; cp "$SHOT" "$file"'
"""A program that writes down its arguments, and the picture into the file that is its last one."""


@pytest.mark.usefixtures("mac")
@pytest.mark.parametrize(
    ("what", "arguments", "name"),
    [
        ("region", "-x -i -s", "part of the screen"),
        ("window", "-x -i -W -o", "window"),
        ("screen", "-x", "screen"),
    ],
)
def test_a_mac_takes_pictures_by_screencapture(
    program: Program,
    shot: Image.Image,
    tmp_path: Path,
    what: screen.ScreenArea,
    arguments: str,
    name: str,
) -> None:
    program("screencapture", TAKE)
    taken = screen.capture(what)
    assert taken is not None and taken.name == name
    assert taken.image.tobytes() == shot.tobytes()
    assert (tmp_path / "taken").read_text().rsplit(maxsplit=1)[0] == arguments


@pytest.mark.usefixtures("mac", "shot")
@pytest.mark.parametrize("script", ["exit 1", "exit 0", 'for file; do :; done; > "$file"'])
def test_no_file_or_an_empty_one_means_that_the_user_cancelled(
    program: Program, script: str
) -> None:
    program("screencapture", script)
    assert screen.capture("region") is None


@pytest.mark.usefixtures("mac", "shot")
@pytest.mark.parametrize("what", ["screen", "region"])
def test_a_picture_that_is_not_taken_was_not_cancelled(
    program: Program, what: screen.ScreenArea
) -> None:
    program("screencapture", "echo 'no displays' >&2; exit 1")
    with pytest.raises(Gemma4Error, match="no displays"):
        screen.capture(what)


@pytest.mark.usefixtures("mac", "shot")
@pytest.mark.parametrize("part", ["display", "rect"])
def test_a_refused_screen_is_told_with_the_terminals_name(program: Program, part: str) -> None:
    program("screencapture", f"echo 'could not create image from {part}' >&2; exit 1")
    with pytest.raises(Refused) as caught:
        screen.capture("region")
    assert "iTerm" in caught.value.remedy and caught.value.link == permissions.SCREEN_PANE


@pytest.mark.usefixtures("mac", "shot")
def test_a_picture_of_the_wallpaper_alone_is_told_as_a_refusal(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("screencapture", TAKE)
    monkeypatch.setattr(permissions, "screen_allowed", lambda: False)
    with pytest.raises(Refused, match="shows no other program's window"):
        screen.capture("window")


@pytest.mark.usefixtures("mac", "shot")
def test_a_black_screen_is_told_as_a_refusal(program: Program, tmp_path: Path) -> None:
    program("screencapture", TAKE)
    Image.new("RGB", (320, 200), (0, 1, 2)).save(tmp_path / "shot.png")
    with pytest.raises(Refused, match="black"):
        screen.capture("screen")
    assert screen.capture("region") is not None  # part of a screen may be black


@pytest.mark.usefixtures("mac")
def test_a_mac_without_screencapture_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Gemma4Error, match="No picture of the screen"):
        screen.capture("screen")


@pytest.mark.usefixtures("no_screen")
def test_without_a_screen_the_remedy_says_what_would_do() -> None:
    with pytest.raises(Gemma4Error, match="grim and slurp"):
        screen.capture("region")


@pytest.mark.usefixtures("no_screen")
def test_on_wayland_slurp_chooses_the_part_that_grim_takes(
    program: Program, shot: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    program("slurp", "echo '10,20 30x40'")
    program("grim", TAKE)
    taken = screen.capture("region")
    assert taken is not None and taken.image.tobytes() == shot.tobytes()
    assert (tmp_path / "taken").read_text().startswith("-g 10,20 30x40 /")
    whole = screen.capture("screen")
    assert whole is not None and whole.name == "screen"
    assert not (tmp_path / "taken").read_text().startswith("-g")


@pytest.mark.usefixtures("no_screen", "shot")
def test_escape_in_slurp_cancels_and_another_failure_is_reported(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    program("slurp", "echo 'selection cancelled' >&2; exit 1")
    program("grim", TAKE)
    assert screen.capture("region") is None
    program("slurp", "echo 'compositor does not support zwlr_layer_shell_v1' >&2; exit 1")
    with pytest.raises(Gemma4Error, match="grim: compositor does not support zwlr_layer_shell"):
        screen.capture("region")


@pytest.mark.usefixtures("no_screen")
def test_where_grim_fails_gnome_screenshot_is_tried(
    program: Program, shot: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    program("grim", "echo 'compositor does not support it' >&2; exit 1")
    program("slurp", "echo '0,0 1x1'")
    program("gnome-screenshot", TAKE)
    taken = screen.capture("window")
    assert taken is not None and (taken.name, taken.note) == ("window", "")
    assert (tmp_path / "taken").read_text().startswith("-w -f /")


@pytest.mark.usefixtures("no_screen", "shot")
def test_a_cancelled_gnome_screenshot_leaves_no_file(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":12345")
    program("gnome-screenshot", "exit 0")
    assert screen.capture("region") is None


@pytest.mark.usefixtures("no_screen")
@pytest.mark.parametrize("chooser", ["gnome-screenshot", "slop"])
def test_where_nobody_chooses_nothing_is_taken(
    program: Program, chooser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":12345")
    monkeypatch.setattr(linux, "PATIENCE", 0.2)
    monkeypatch.setattr(linux.ImageGrab, "grab", lambda xdisplay: Image.new("RGB", (80, 60)))
    program(chooser, "exec sleep 60")
    assert screen.capture("region") is None


@pytest.mark.usefixtures("no_screen")
def test_a_part_outside_the_screen_is_an_error(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":12345")
    monkeypatch.setattr(linux.ImageGrab, "grab", lambda xdisplay: Image.new("RGB", (80, 60)))
    program("slop", "echo 90 70 10 10")
    with pytest.raises(Gemma4Error, match="outside the screen"):
        screen.capture("region")


@pytest.mark.usefixtures("no_screen", "shot")
def test_why_each_way_failed_is_told(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":12345")
    program("gnome-screenshot", "echo 'no session bus' >&2; exit 1")
    with pytest.raises(Gemma4Error) as caught:
        screen.capture("screen")
    assert "gnome-screenshot: no session bus" in caught.value.cause
    assert "Pillow: " in caught.value.cause


MISSING = [name for name in ("Xvfb", "xterm") if shutil.which(name) is None]


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real X server that this process uses."""
    with x_server(800, 600) as name:
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield name


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_slop_chooses_a_part_of_a_real_screen(display: str, program: Program) -> None:
    program("slop", 'echo "10 20 300 200"')
    part, whole = screen.capture("region"), screen.capture("screen")
    assert part is not None and whole is not None
    assert (part.image.size, part.note) == ((300, 200), "") and whole.image.size == (800, 600)
    program("slop", 'echo "-20 500 300 200"')  # a window that is partly outside the screen
    part = screen.capture("window")
    assert part is not None and part.image.size == (280, 100)
    program("slop", "echo 'Selection was cancelled by keystroke or right-click.' >&2; exit 1")
    assert screen.capture("window") is None
    program("slop", "echo 'Slop encountered an error:' >&2; exit 1")
    with pytest.raises(Gemma4Error, match="Slop encountered an error"):
        screen.capture("window")


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.skipif(shutil.which("xclip") is None, reason="not installed: xclip")
def test_text_comes_out_of_a_real_clipboard(display: str) -> None:
    assert screen.clipboard() is None
    copy = ["xclip", "-selection", "clipboard", "-i", "-display", display]
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(copy, input="zwei\nWörter\n".encode(), check=True, **nowhere)
    assert screen.clipboard() == "zwei\nWörter\n"


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_a_real_screen_is_taken_and_watched(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux.shutil, "which", lambda name: None)  # Pillow alone
    watch = ChangeDetector(1.0)
    empty = screen.capture("region")
    assert empty is not None and empty.image.size == (800, 600)
    assert empty.name == "screen" and "whole screen" in empty.note
    assert watch.look(empty.image, 0.0)
    text = 'printf "\\033[?25l%s\\n" "$(seq 1 200)"; sleep 60'
    command = ["xterm", "-geometry", "80x24+0+0", "-e", "sh", "-c", text]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as xterm:
        try:
            end, now = time.monotonic() + 10, 1.0
            while not watch.look((taken := screen.capture("screen") or empty).image, now):
                assert time.monotonic() < end, "the window did not come up"
                time.sleep(0.05)
                now += 1
        finally:
            xterm.terminate()
    assert taken.note == ""
    assert taken.image.tobytes() != empty.image.tobytes()


def page(lines: int, clock: str = "12:00", cursor: bool = False) -> Image.Image:
    """A screen with some lines of text, a clock and perhaps a cursor."""
    image = Image.new("RGB", (1280, 800), "white")
    draw = ImageDraw.Draw(image)
    for number in range(lines):
        draw.text((20, 40 + 20 * number), "the quick brown fox jumps over the dog " * 2, "black")
    draw.text((1200, 5), clock, "black")
    if cursor:
        draw.rectangle((300, 700, 308, 716), "black")
    return image


def test_a_screen_is_shown_when_text_changed_and_not_for_a_clock_or_a_cursor() -> None:
    watch = ChangeDetector(2.0)
    assert watch.look(page(5), 0)
    assert not watch.look(page(5, "12:01"), 10)
    assert not watch.look(page(5, cursor=True), 20)
    assert watch.look(page(6), 30)
    assert not watch.look(page(6), 40)


def test_a_change_that_comes_too_soon_is_shown_when_its_time_has_come() -> None:
    watch = ChangeDetector(2.0)
    assert watch.look(page(1), 0)
    assert not watch.look(page(2), 1.9)
    assert watch.look(page(2), 2.0)


def test_small_changes_that_add_up_are_shown() -> None:
    watch = ChangeDetector(0.0)
    assert watch.look(page(0), 0)
    image = page(0)
    shown = []
    for step in range(40):
        image.paste("black", (8 * step, 400, 8 * step + 8, 416))
        shown.append(watch.look(image, step))
    assert 0 < sum(shown) < 20


def test_another_resolution_is_a_change() -> None:
    watch = ChangeDetector(1.0)
    assert watch.look(page(1), 0)
    assert watch.look(page(1).resize((640, 400)), 1)


@pytest.mark.parametrize(
    ("size", "most", "tokens"),
    [
        ((1920, 1080), 1120, 1120),
        ((2880, 1800), 1120, 1120),
        ((1280, 800), 1120, 560),
        ((300, 200), 1120, 70),
        ((1920, 1080), 280, 280),
        ((1280, 800), 70, 70),
    ],
)
def test_a_screen_gets_the_fewest_tokens_that_do_not_shrink_it(
    size: tuple[int, int], most: int, tokens: int
) -> None:
    assert screen.screen_tokens(size, most) == tokens
    if tokens < most:
        smaller = BUDGETS[BUDGETS.index(tokens) - 1]
        assert patches(Image.new("RGB", size), tokens).size[0] >= size[0]
        assert tokens == 70 or patches(Image.new("RGB", size), smaller).size[0] < size[0]


def test_the_caption_counts_the_tokens_that_the_model_gets() -> None:
    tokens = screen.tokens_of((1280, 800), 280)
    assert tokens == len(patches(Image.new("RGB", (1280, 800)), 280).patches)
    said = screen.caption("window", (1280, 800), tokens, 280)
    assert said == "window · 1280×800 → 273 of 280 image tokens"


def test_image_tokens_go_up_and_begin_again() -> None:
    assert [screen.next_budget(one) for one in BUDGETS] == [*BUDGETS[1:], BUDGETS[0]]
