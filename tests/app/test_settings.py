import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.settings import (
    DEFAULTS,
    FIELDS,
    Settings,
    about,
    choices,
    folder,
    fresh,
    load,
    problem,
    save,
)
from mlx_gemma4.hub import catalog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_settings_lie_beside_the_users_own_catalogue() -> None:
    assert folder() == catalog.user_file().parent


def test_without_a_file_all_is_as_the_program_has_it(path: Path) -> None:
    assert load(path) == (DEFAULTS, [])


def test_the_first_file_explains_every_setting_and_sets_none() -> None:
    text = fresh()
    assert tomllib.loads(text) == {}
    for name in FIELDS:
        assert f"# {about(name)}" in text


def test_every_comment_of_the_first_file_can_be_made_a_setting(path: Path) -> None:
    lines = [line.removeprefix("# ") for line in fresh().splitlines()]
    wanted = [line for line in lines if " = " in line and line.split(" = ")[0] in FIELDS]
    path.write_text("\n".join(wanted))
    assert load(path) == (DEFAULTS, [])
    assert len(wanted) == len(FIELDS) - 2  # temperature has no value, and keys is a table


def test_a_changed_setting_stands_where_its_comment_stood(path: Path) -> None:
    save(path, dataclasses.replace(DEFAULTS, speak=True))
    lines = path.read_text().splitlines()
    place = lines.index("speak = true")
    assert lines[place - 1] == f"# {about('speak')}"
    assert load(path)[0] == dataclasses.replace(DEFAULTS, speak=True)


def test_comments_order_and_what_is_not_known_stay(path: Path) -> None:
    before = "# mine\nrate = 200 # fast\nlater = [1, 2] # of a later version\n\n[tables]\nx = 1\n"
    path.write_text(before)
    now, warnings = load(path)
    assert [("later" in w, "tables" in w) for w in warnings] == [(True, False), (False, True)]
    save(path, dataclasses.replace(now, rate=150, voice="Anna"))
    after = path.read_text()
    assert after.startswith("# mine\nrate = 150 # fast\nlater = [1, 2] # of a later version\n")
    assert tomllib.loads(after)["tables"] == {"x": 1}
    assert load(path)[0] == dataclasses.replace(now, rate=150, voice="Anna")


@pytest.mark.parametrize(
    ("line", "name", "said"),
    [
        ('speak = "yes"', "speak", "true or false"),
        ("rate = 1.5", "rate", "whole number"),
        ("rate = 20", "rate", "80 to 450"),
        (f"temperature = 1{'0' * 400}", "temperature", "from 0 to 2"),
        ("image_tokens = 300", "image_tokens", "70, 140, 280, 560, 1120"),
        ('theme = "blue"', "theme", "'dark', 'light'"),
        ("thinking = 1", "thinking", "true or false"),
        ("kv_bits = false", "kv_bits", "0, 8, 4"),
        ("keys = 3", "keys", "table"),
        ("keys.talk = 4", "keys", "table"),
    ],
)
def test_a_wrong_value_is_told_left_out_and_not_lost(
    path: Path, line: str, name: str, said: str
) -> None:
    path.write_text(line + "\n")
    now, warnings = load(path)
    assert getattr(now, name) == getattr(DEFAULTS, name)
    assert len(warnings) == 1 and name in warnings[0] and said in warnings[0]
    save(path, dataclasses.replace(now, voice="Anna"))
    assert line in path.read_text()


def test_a_wrong_value_that_is_replaced_stays_as_a_comment(path: Path) -> None:
    path.write_text('rate = "fast"\n')
    save(path, dataclasses.replace(load(path)[0], rate=200))
    assert load(path) == (dataclasses.replace(DEFAULTS, rate=200), [])
    assert '# rate was "fast"' in path.read_text()


def test_a_whole_number_is_a_number(path: Path) -> None:
    path.write_text("temperature = 1\nwatch_seconds = 2\n")
    now, warnings = load(path)
    assert (now.temperature, now.watch_seconds, warnings) == (1.0, 2.0, [])


def test_a_file_that_is_not_toml_is_told_and_kept(path: Path) -> None:
    path.write_text("rate = = 3\n")
    now, warnings = load(path)
    assert now == DEFAULTS and "not TOML" in warnings[0]
    save(path, dataclasses.replace(now, rate=200))
    assert load(path) == (dataclasses.replace(DEFAULTS, rate=200), [])
    assert path.with_name("settings.toml.broken").read_text() == "rate = = 3\n"


def test_a_file_that_may_not_be_read_is_reported_and_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    path.write_text("rate = 200\n")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refused)  # root may read any file
        now, warnings = load(path)
        assert now == DEFAULTS and "cannot be read: Permission denied. All" in warnings[0]
        with pytest.raises(PermissionError):
            save(path, dataclasses.replace(now, rate=150))
    assert path.read_text() == "rate = 200\n"


def test_a_file_that_is_a_link_stays_one(path: Path) -> None:
    own = path.with_name("dotfiles.toml")
    own.write_text("speak = true\n")
    path.symlink_to(own)
    save(path, dataclasses.replace(load(path)[0], rate=200))
    assert path.is_symlink() and own.read_text() == "speak = true\nrate = 200\n"


def test_a_link_to_where_nothing_is_yet_stays_one(path: Path) -> None:
    own = path.with_name("dots") / "dotfiles.toml"
    path.symlink_to(own)
    save(path, dataclasses.replace(load(path)[0], rate=200))
    assert path.is_symlink() and "rate = 200" in own.read_text()


def test_saving_nothing_new_changes_nothing(path: Path) -> None:
    path.write_text("rate=200#x\n\n\n[keys]\n talk = 'f5'\n")
    save(path, load(path)[0])
    assert path.read_text() == "rate=200#x\n\n\n[keys]\n talk = 'f5'\n"


def test_the_temperature_can_be_left_to_the_model_again(path: Path) -> None:
    save(path, dataclasses.replace(DEFAULTS, temperature=0.5))
    save(path, DEFAULTS)
    assert load(path) == (DEFAULTS, [])


def test_choices_are_told_for_the_settings_that_have_a_few() -> None:
    assert choices("theme") == ("dark", "light")
    assert choices("image_tokens") == (70, 140, 280, 560, 1120)
    assert choices("voice") == ()


VALUES: dict[str, st.SearchStrategy[object]] = {
    str(name): st.sampled_from(choices(name)) for name in FIELDS if choices(name)
} | {
    "model": st.text("abc/\"'\\# ünï\n", max_size=8),
    "system": st.text(max_size=20).filter(lambda text: "\x00" not in text and "\r" not in text),
    "max_tokens": st.integers(1, 1_000_000),
    "temperature": st.none() | st.floats(0, 2),
    "thinking": st.booleans(),
    "microphone": st.text("abc [=\"'", max_size=8),
    "stop_after": st.floats(0, 30),
    "speak": st.booleans(),
    "rate": st.integers(80, 450),
    "keys": st.dictionaries(
        st.sampled_from(("talk", "new", "log")), st.sampled_from(("f5", "", "a,b"))
    ),
}
CHANGES = st.fixed_dictionaries({}, optional=VALUES)


@settings(deadline=None, max_examples=40, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_whatever_is_saved_is_read_again_and_its_comments_stay(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("settings") / "settings.toml"
    now: Settings = DEFAULTS
    for changes in steps:
        assert not any(problem(name, value) for name, value in changes.items())
        now = dataclasses.replace(now, **changes)  # type: ignore[arg-type]
        save(path, now)
        assert load(path) == (now, [])
    if path.is_file():
        assert f"# {about('theme')}" in path.read_text()
