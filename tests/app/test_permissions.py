import sys

import pytest

from app.devices import permissions
from app.devices.permissions import (
    Refused,
    microphone,
    screen,
    screen_allowed,
    terminal,
)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"TERM_PROGRAM": "Apple_Terminal"}, "Terminal"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iTerm"),
        ({"TERM_PROGRAM": "vscode"}, "Visual Studio Code"),
        (
            {"TERM_PROGRAM": "vscode", "__CFBundleIdentifier": "com.todesktop.230313mzl4w4u92"},
            "Cursor",
        ),
        ({"TERM_PROGRAM": "ghostty"}, "Ghostty"),
        ({"TERM_PROGRAM": "New.app"}, "New"),
        ({"TERM_PROGRAM": "tmux", "__CFBundleIdentifier": "com.googlecode.iterm2"}, "iTerm"),
        ({"TERM_PROGRAM": "tmux"}, "your terminal program"),
        ({"__CFBundleIdentifier": "org.example.Shiny"}, "Shiny"),
        ({"KITTY_WINDOW_ID": "1", "TERM": "xterm-kitty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app", "SSH_CONNECTION": "1 2 3 4"}, "sshd-keygen-wrapper"),
        ({}, "your terminal program"),
    ],
)
def test_the_terminal_is_named_as_system_settings_lists_it(
    environment: dict[str, str], name: str
) -> None:
    assert terminal(environment) == name


def test_the_screens_card_says_how_to_go_on_without_the_permission() -> None:
    assert "Ctrl+Shift+Cmd+4" in screen("It is black.").remedy
    assert screen("It is black.").cause.startswith("It is black. ")


def test_the_microphones_card_names_every_cause_and_what_still_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(permissions, "terminal", lambda: "iTerm")
    error = microphone("MacBook Pro Microphone")
    assert isinstance(error, Refused) and error.link == permissions.MICROPHONE_PANE
    for part in ("MacBook Pro Microphone", "iTerm", "muted"):
        assert part in error.cause
    for part in ("Privacy & Security > Microphone", "Sound > Input", "F3", "Typing"):
        assert part in error.remedy


@pytest.mark.parametrize(
    ("noted", "code", "told"),
    [
        ("refused", "microphone_refused", "you refused it"),
        ("restricted", "microphone_refused", "management"),
        ("not asked", "microphone_not_asked", "macOS has asked nobody"),
        ("allowed", "microphone_silent", "it is muted"),
        (None, "microphone_silent", "it is muted"),
    ],
)
def test_a_refusal_and_a_terminal_that_cannot_ask_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, noted: str | None, code: str, told: str
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(permissions, "terminal", lambda: "Shiny")
    monkeypatch.setattr(permissions, "microphone_noted", lambda: noted)
    error = microphone("MacBook Pro Microphone")
    assert error.code == code and told in error.cause
    if noted == "not asked":
        assert "Terminal, iTerm2 or Ghostty" in error.remedy and "Shiny" in error.cause


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac gives an answer")
def test_what_the_microphones_permission_is_cannot_be_asked_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert permissions.microphone_noted() is None
    monkeypatch.setattr(sys, "platform", "darwin")  # without AVFoundation
    assert permissions.microphone_noted() is None


def test_elsewhere_the_microphones_card_has_no_page_of_a_mac(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    error = microphone("null sink")
    assert not isinstance(error, Refused) and "System Settings" not in error.remedy


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac gives an answer")
def test_a_machine_without_the_question_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert screen_allowed() is None
    monkeypatch.setattr(sys, "platform", "darwin")  # an older one, without CoreGraphics' call
    assert screen_allowed() is None
