import re

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
