import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from mlx_gemma4.serve.engine import EngineOptions
from mlx_gemma4.serve.guard import Doors
from mlx_gemma4.testing.scripted_worker import ScriptedWorker

from .serving import served

ELSEWHERE = re.compile(r"(?:src|href|url)\s*[=(:]\s*[\"']?(?:https?:)?//", re.IGNORECASE)


def test_the_page_needs_no_key_and_nothing_from_elsewhere() -> None:
    with served(ScriptedWorker(), EngineOptions("tiny"), Doors("secret")) as client:
        answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert not ELSEWHERE.search(answer.text)
    assert "secret" not in answer.text


def test_what_the_page_s_program_looks_for_is_in_the_page() -> None:
    with served(ScriptedWorker(), EngineOptions("tiny")) as client:
        page = client.get("/").text
    wanted = set(re.findall(r'at\("(\w+)"\)', page))
    assert len(wanted) > 8 and wanted <= set(re.findall(r'id="(\w+)"', page))


@pytest.fixture(scope="module")
def done() -> Any:
    """What `page.js` has seen."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    program, page = Path(__file__).with_name("page.js"), files("mlx_gemma4.serve.page")
    command = ["node", str(program), str(page / "index.html")]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_the_microphone_is_closed_by_end_however_far_it_was_opened(done: Any) -> None:
    assert done["ended"] == [{"open": 0, "errors": 0, "label": "Talk"}] * 3


def test_a_question_typed_while_the_microphone_is_opened_is_answered(done: Any) -> None:
    sent = ["session.update", "conversation.item.create", "response.create"]
    assert done["typed"] == [sent] * 3


def test_an_answer_does_not_come_into_the_conversation_after_new(done: Any) -> None:
    assert done["renewed"] == ["user"]


def test_any_key_is_a_subprotocol_s_name(done: Any) -> None:
    _, _, key = done["subprotocol"].rpartition(".")
    assert re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", key) and unquote(key) == "a/b=(c)"


def test_why_a_model_cannot_be_loaded_is_on_the_page(done: Any) -> None:
    assert done["failed"] == "It is too large."
