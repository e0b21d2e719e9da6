import logging
import threading

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.runtime.reports import Failed
from mlx_gemma4.runtime.threads import start_thread


def test_a_thread_does_its_work_under_its_name() -> None:
    names: list[str] = []
    start_thread(lambda: names.append(threading.current_thread().name), "worker").join(60)
    assert names == ["worker"]


def test_an_exception_in_a_thread_is_logged_and_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Failed] = []
    with caplog.at_level(logging.ERROR):
        start_thread(lambda: 1 / 0, "divider", failures.append).join(60)
    (failed,) = failures
    assert failed.code == "internal_error"
    assert "ZeroDivisionError" in failed.cause
    assert "test_threads.py" in failed.details
    assert "divider" in caplog.text and "ZeroDivisionError" in caplog.text


def test_an_error_of_ours_keeps_its_code_and_facts() -> None:
    def fail() -> None:
        raise Gemma4Error("disk_full", "Full", "It is.", "Delete.", {"bytes": 3})

    failures: list[Failed] = []
    start_thread(fail, "writer", failures.append).join(60)
    assert [(one.code, dict(one.facts)) for one in failures] == [("disk_full", {"bytes": 3})]
    assert failures[0].error().facts == {"bytes": 3}


def test_a_failure_that_cannot_be_reported_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    def report(_: Failed) -> None:
        raise OSError("the screen is gone")

    start_thread(lambda: 1 / 0, "divider", report).join(60)
    assert "the screen is gone" in caplog.text
