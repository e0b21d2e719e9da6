import re

import pytest

from docs.messages import Message, main, messages, of_source

HUBS = re.compile(r"\bhf (auth|download)\b")  # it is not on the path beside `gemma4`


def test_no_text_names_a_command_that_the_installation_does_not_bring() -> None:
    found = [text for message in messages() for text in message.texts if HUBS.search(text)]
    assert found == []


def test_the_list_has_errors_help_settings_and_sentences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main()
    listed = capsys.readouterr().out
    for text in (
        "mlx_gemma4/errors.py" not in listed and "== errors",
        "question_missing",
        "Neither the command nor stdin has one, and no sound asks it.",
        "pictures to look at",
        "Send the prompt, with everything that waits.",
        "The most tokens of an answer.",
        "The answer was stopped: the model's context is full.",
    ):
        assert text and text in listed


def test_an_error_is_one_entry_and_its_values_are_in_braces() -> None:
    source = '''
def f(n):
    """Raise."""
    raise Gemma4Error("too_small", "It is too small", f"{n + 1} of " "seven words.", "Take more.")
'''
    assert list(of_source(source, "a.py")) == [
        Message(
            "errors",
            "a.py:4",
            "too_small",
            ("It is too small", "{n + 1} of seven words.", "Take more."),
        )
    ]


def test_docstrings_names_and_code_are_no_texts() -> None:
    source = '"""A module about three things."""\nX = "one_two"\nY = "GEMMA4"\nZ = "a b"\n'
    assert list(of_source(source, "a.py")) == []
    assert [m.texts for m in of_source('X = f"{a} files were read."', "a.py")] == [
        ("{a} files were read.",)
    ]
