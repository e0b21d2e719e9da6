"""What the schema of workflows does not know: jobs that exist, runners that are offered."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RUNNERS = {"ubuntu-24.04", "macos-15", "macos-26"}


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["jobs"]
    return found


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_job_that_is_waited_for_exists(file: Path) -> None:
    for job in jobs(file).values():
        needed = job.get("needs", [])
        assert set([needed] if isinstance(needed, str) else needed) <= set(jobs(file))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_runner_is_one_that_github_offers(file: Path) -> None:
    for job in jobs(file).values():
        label = job["runs-on"]
        if label == "${{ matrix.os }}":
            assert set(job["strategy"]["matrix"]["os"]) <= RUNNERS
        else:
            assert label in RUNNERS


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_action_is_pinned_by_its_commit_and_named_by_its_version(file: Path) -> None:
    used = [line for line in file.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_only_the_job_that_publishes_may_ask_for_a_token() -> None:
    for file in WORKFLOWS:
        for name, job in jobs(file).items():
            assert ("id-token" in job.get("permissions", {})) == (name == "publish")


def test_the_program_of_a_release_is_tried_before_it_is_published() -> None:
    release = jobs(ROOT / ".github" / "workflows" / "release.yml")
    assert set(release["publish"]["needs"]) == {"build", "try"}
    assert release["try"]["needs"] == "build"
    runs = " ".join(step.get("run", "") for step in release["try"]["steps"])
    assert "tools/wheel_smoke.py" in runs  # questions, the terminal program, the self-test


def test_every_make_target_that_a_workflow_runs_exists() -> None:
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.M))
    asked = {
        target
        for file in WORKFLOWS
        for line in file.read_text().splitlines()
        for target in re.findall(r"run: make ([\w./-]+)", line)
    }
    assert asked and asked <= targets
