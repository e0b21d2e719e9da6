import re
from pathlib import Path

import pytest

from app.commands import (
    BY_ID,
    COMMANDS,
    GROUPS,
    UNSAFE,
    Situation,
    available,
    find,
    footer,
    groups,
    keymap,
    refused,
    short,
    shown,
)
from docs.update import keys_table


def test_every_key_of_the_defaults_does_one_thing() -> None:
    keys = [key for command in COMMANDS for key in command.keys]
    assert len(keys) == len(set(keys))
    assert len(BY_ID) == len(COMMANDS)


def test_no_default_key_is_one_that_terminals_mistake() -> None:
    for command in COMMANDS:
        for key in command.keys:
            assert key not in UNSAFE
            assert "alt" not in key and "option" not in key


def test_what_an_f_key_does_can_be_done_without_it() -> None:
    ready = Situation(picture=True, answered=True)
    for command in COMMANDS:
        plain = [key for key in command.keys if not re.fullmatch(r"f\d+", key)]
        assert plain or not refused(command.id, "", ready), command.id


def test_every_command_stands_under_one_heading_and_is_explained() -> None:
    listed = [command for _, commands in groups() for command in commands]
    assert sorted(command.id for command in listed) == sorted(BY_ID)
    assert all(command.help.endswith(".") and command.group in GROUPS for command in COMMANDS)


def test_a_picture_must_wait_before_its_tokens_can_change() -> None:
    assert not available(BY_ID["detail"], Situation(picture=False))
    assert available(BY_ID["detail"], Situation(picture=True))


def test_space_talks_in_an_empty_prompt_only_and_the_footer_says_so() -> None:
    keys, _ = keymap({})
    empty = dict((command.footer, key) for key, command in footer(Situation(empty=True), keys))
    typed = dict((command.footer, key) for key, command in footer(Situation(empty=False), keys))
    assert (empty["Talk"], typed["Talk"]) == ("space", "f4")
    assert list(empty).count("Talk") == 1


def test_the_users_key_takes_the_place_of_the_default_and_of_who_had_it() -> None:
    keys, warnings = keymap({"export": "f4"})
    assert keys["export"] == ("f4",)
    assert keys["talk"] == ()
    assert len(warnings) == 1 and "F4" in warnings[0] and "talk" in warnings[0]


def test_two_commands_may_swap_their_keys_without_a_warning() -> None:
    keys, warnings = keymap({"settings": "f2", "model": "f3"})
    assert (keys["settings"], keys["model"], warnings) == (("f2",), ("f3",), [])


def test_an_empty_key_takes_the_key_away() -> None:
    keys, warnings = keymap({"talk": ""})
    assert (keys["talk"], warnings) == ((), [])


def test_a_command_that_is_not_there_and_a_key_that_is_tab_are_told() -> None:
    _, warnings = keymap({"sing": "f4", "copy": "ctrl+i"})
    assert any("sing" in warning for warning in warnings)
    assert any("Tab" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("key", "long", "brief"),
    [("ctrl+s", "Ctrl+S", "^s"), ("f4", "F4", "f4"), ("escape", "Esc", "esc"), ("slash", "/", "/")],
)
def test_keys_are_written_as_people_read_them(key: str, long: str, brief: str) -> None:
    assert (shown(key), short(key)) == (long, brief)


def test_a_slash_and_a_beginning_find_a_command_and_a_whole_name_only_it() -> None:
    assert [command.id for command in find("/scr")] == ["screenshot", "screen", "watch"]
    assert [command.id for command in find("/screen")] == ["screen"]
    assert "export" in [command.id for command in find("exp")]
    assert "watch" in [command.id for command in find("watch the")]


def test_the_page_of_keys_is_made_from_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/keys.md").read_text(encoding="utf-8")
    assert keys_table() in page
