"""Brackets of a user, a model, a file or the settings are brackets, and never Textual's markup."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.devices.machine import DoctorFinding
from app.devices.voices import SystemVoice
from app.state import Problem
from mlx_gemma4.events import Heard, Thought, Token
from tests.app.host import Stage, World, chart, live, staged

MARKUPS = ("[/x]", "[red]", "[@click=app.quit]x[/]", "a[/b", "[")


def told(stage: Stage) -> str:
    return " ".join(one.message for one in stage.app._notifications)


@pytest.mark.parametrize("markup", MARKUPS)
def test_a_toast_has_the_brackets_that_were_typed(tmp_path: Path, markup: str) -> None:
    @live
    async def played() -> None:
        async with staged(tmp_path) as stage:
            stage.app.chat.prompt.write(f"/tmp/{markup}")
            await stage.press("enter")
            await stage.until(lambda: f"/tmp/{markup}" in told(stage))
            stage.app.chat.prompt.write("")
            await stage.until(lambda: f"/tmp/{markup[:8]}" in stage.text)
            stage.app.chat.prompt.write(f"/new {markup}")
            await stage.press("enter")
            stage.app.chat.prompt.write("")
            stage.app.do("export", f"{tmp_path}/{markup}/x.md")
            await stage.until(lambda: f"{markup}/x.md is written" in told(stage))
            await stage.ask("are you there?")

    played()


@pytest.mark.parametrize("markup", MARKUPS)
def test_a_conversation_shows_its_brackets(tmp_path: Path, markup: str) -> None:
    answer = (f"# {markup}\n\n| {markup} | b |\n|---|---|\n| {markup} | c |\n\n"
              f"- {markup} `{markup}` [{markup}]({markup}) ![{markup}]({markup})\n\n"
              f"```{markup}\n{markup}\n```\n\n    {markup}\n")  # fmt: skip
    events = [Heard(f"{markup} heard"), Thought(f"{markup} thought"), Token(f"{answer} end", 1)]
    picture = chart(tmp_path).rename(tmp_path / f"{markup.replace('/', ':')} p.png")
    error = Problem("odd", *(f"{markup} {word}" for word in ("title", "cause", "remedy")))

    @live
    async def played() -> None:
        async with staged(tmp_path, [events], size=(100, 60)) as stage:
            chat = stage.app.chat
            chat.busy(chat.media.files([picture]), "file")
            await stage.until(lambda: "p.png" in stage.text)
            await stage.ask(f"{markup} question")
            await stage.until(lambda: "end" in stage.text)
            await chat.transcript.note(f"{markup} note")
            chat.problem(error)
            words = ("question", "note", "title", "cause", "remedy")
            await stage.until(lambda: all(f"{markup} {word}" in stage.text for word in words))
            stage.app.do("resume")
            await stage.until(lambda: f"{markup} question" in stage.text)
            await stage.press("slash", *markup)
            await stage.until(lambda: f'with "{markup}": 1' in stage.text)

    played()


@pytest.mark.parametrize("markup", MARKUPS)
@live
async def test_keys_voices_findings_and_paths_show_their_brackets(
    tmp_path: Path, markup: str
) -> None:
    finding = DoctorFinding("problem", markup, f"{markup} said", f"{markup} remedy")
    voice = SystemVoice(f"{markup} voice", f"{markup} language", True)
    devices = {"findings": lambda: [finding], "voices": lambda: [voice]}
    world = World()
    world.microphone.name = f"{markup} mic"
    own = f'system = "{markup} system"\n[keys]\nfix = "{markup}"\nhelp = "{markup}2"\n'
    async with staged(tmp_path, settings=own, world=world, size=(100, 70)) as stage:
        stage.app.workspace.devices = replace(stage.app.workspace.devices, **devices)
        (stage.app.workspace.folder / markup.replace("/", ":")).write_text("a note")
        stage.app.chat.problem(Problem("worker_crashed", "It stopped", "Why.", "Again."))
        await stage.until(lambda: f"{markup.lower()} start it again" in stage.text)
        await stage.press("f4")
        await stage.until(lambda: f"{markup} mic" in stage.text)
        await stage.press("escape", "escape")
        for page, words in (
            ("doctor", f"{markup} remedy"), ("voices", f"{markup} voice"), ("help", "Ctrl+E"),
            ("settings", markup[:12]), ("log", "log"), ("model", "tiny"),
        ):  # fmt: skip
            stage.app.do(page)
            await stage.until(lambda w=words: w in stage.text)
            await stage.press("escape")
        stage.app.chat.prompt.write(f"@{stage.app.workspace.folder}/{markup[:1]}")
        await stage.until(lambda: stage.app.chat.suggestions.display)
        stage.app.do("model", f"{markup} model")
        await stage.until(lambda: f"model {markup} model" in stage.text)
