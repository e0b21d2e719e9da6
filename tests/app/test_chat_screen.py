import threading
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Paste

from app.messages import Reports
from app.state import Problem
from app.widgets import transcript
from app.widgets.card import ErrorCard
from app.widgets.turns import AnswerView, QuestionView
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Heard, Thought, Token
from mlx_gemma4.runtime.reports import Failed, Idle, Report
from tests.app.host import COUNTED, Stage, World, chart, live, shot, staged


@live
async def test_a_question_is_answered_and_both_are_shown(tmp_path: Path) -> None:
    async with staged(tmp_path, ["The total is **19.56**."]) as stage:
        await stage.ask("what is the total?")
        assert "❯ what is the total?" in stage.text
        assert "The total is 19.56." in stage.text
        assert "142 tokens · 31.2 tok/s · first token 0.90 s · ctrl+g answers again" in stage.text
        assert stage.app.chat.prompt.text == ""


@live
async def test_an_empty_prompt_sends_nothing_and_leaves_the_trace(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("hello")
        trace = stage.app.workspace.trace
        await stage.press("enter")
        await stage.pilot.pause()
        assert len(stage.app.workspace.conversation.history.turns) == 2
        assert stage.app.workspace.trace is trace


@live
async def test_new_lines_stay_in_the_question(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("a", "ctrl+j", "b", "shift+enter", "c")
        await stage.ask("")
        assert stage.app.workspace.conversation.history.turns[1].text == "a\nb\nc"


@live
async def test_what_was_not_sent_comes_back_in_another_conversation(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.write("not sent yet")
        await stage.press("ctrl+n")
        await stage.until(lambda: not stage.app.chat.prompt.text)
        await stage.press("up")
        assert stage.app.chat.prompt.text == "not sent yet"


@live
async def test_escape_during_an_answer_keeps_the_part_that_was_said(tmp_path: Path) -> None:
    async with staged(
        tmp_path, [f"one two three four five {COUNTED}"], tokens_per_second=8
    ) as stage:
        await stage.write("count")
        await stage.press("enter")
        history = stage.app.workspace.conversation.history
        await stage.until(lambda: 2 in history.turns and history.turns[2].text.startswith("one"))
        assert "answering · esc stops and keeps what was said" in stage.text
        await stage.press("escape")
        await stage.until(lambda: history.turns[2].stats)
        assert history.turns[2].state == "interrupted"
        assert "one" in history.turns[2].text
        assert "ninety" not in history.turns[2].text
        await stage.until(lambda: "stopped" in stage.text)


@live
async def test_an_answer_is_given_again_and_a_question_taken_back(tmp_path: Path) -> None:
    async with staged(tmp_path, ["First.", "Second."]) as stage:
        await stage.ask("what?")
        await stage.until(lambda: stage.app.workspace.conversation.can_redo)
        await stage.press("ctrl+g")
        await stage.until(lambda: "Second." in stage.text)
        assert "First." not in stage.text
        await stage.until(lambda: stage.app.workspace.conversation.can_redo)
        await stage.press("ctrl+e")
        await stage.until(lambda: stage.app.chat.prompt.text == "what?")
        await stage.until(lambda: "Second." not in stage.text)


@live
async def test_up_brings_back_what_was_sent_and_down_what_was_being_written(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        await stage.ask("first")
        await stage.ask("second")
        await stage.write("draft")
        await stage.press("up")
        await stage.until(lambda: stage.app.chat.prompt.text == "second")
        await stage.press("up", "up")
        await stage.until(lambda: stage.app.chat.prompt.text == "first")
        await stage.press("down", "down")
        await stage.until(lambda: stage.app.chat.prompt.text == "draft")


@live
async def test_a_failed_answer_is_a_card_with_cause_remedy_and_ways_out(tmp_path: Path) -> None:
    error = Gemma4Error(
        "model_not_loaded", "No model is loaded", "It was not found.", "Load a model first."
    )
    async with staged(tmp_path, [error]) as stage:
        await stage.ask("hello?")
        for words in ("No model is loaded", "It was not found.", "Load a model first."):
            assert words in stage.text
        await stage.press("escape")
        await stage.until(lambda: not stage.app.chat.query(ErrorCard))


@live
async def test_an_engine_that_crashed_is_started_again_by_the_key_of_its_card(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, ["Here."]) as stage:
        stage.engine.crash()
        await stage.until(lambda: "The model's worker has stopped" in stage.text)
        assert "^t start it again" in stage.text
        assert "no model" in stage.text
        await stage.press("ctrl+t")
        await stage.until(lambda: stage.app.workspace.conversation.state == "ready")
        await stage.ask("are you there?")
        assert "Here." in stage.text


@live
async def test_pasted_words_stay_words(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for newline in ("\n", "\r", "\r\n"):  # terminals send \r
            stage.app.chat.prompt.write("")
            await stage.app.chat.prompt._on_paste(Paste(f"two{newline}lines"))
            assert stage.app.chat.prompt.text == "two\nlines"
            assert stage.app.chat.prompt.document.line_count == 2
        await stage.app.chat.prompt._on_paste(Paste("a line\r" * 2000))
        waiting = stage.app.workspace.conversation.history.waiting
        await stage.until(lambda: waiting)
        (text,) = waiting.values()
        assert (stage.app.workspace.journal.folder / text.file).read_text() == "a line\n" * 2000


@live
async def test_the_state_line_has_what_is_waited_for_while_a_part_is_chosen(tmp_path: Path) -> None:
    chosen, asked = threading.Event(), []

    def capture(what: str) -> None:
        asked.append(what)
        assert chosen.wait(60)

    async with staged(tmp_path) as stage:
        stage.app.workspace.devices = replace(stage.app.workspace.devices, capture=capture)
        await stage.press("ctrl+s")
        await stage.until(lambda: "choose a part of the screen" in stage.text)
        assert "ready" not in stage.app.chat.status_bar.status.state
        chosen.set()
        await stage.until(lambda: stage.app.chat.status_bar.status.state == "ready")
        await stage.press("f6")
        await stage.until(lambda: asked == ["region", "screen"])
        assert "choose" not in stage.text


@live
async def test_a_screenshot_waits_and_a_cancelled_one_does_not(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("ctrl+s")
        await stage.pilot.pause(0.1)
        assert not stage.app.workspace.conversation.history.waiting
        stage.world.screen = shot(tmp_path)
        await stage.press("ctrl+s")
        await stage.until(lambda: "window · 1280×800 →" in stage.text)


@live
async def test_a_refused_screen_is_a_card_that_opens_system_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.devices import permissions

    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    world = World(screen=permissions.screen("The picture is black."))
    async with staged(tmp_path, world=world) as stage:
        await stage.press("f6")
        await stage.until(lambda: "The screen cannot be seen" in stage.text)
        await stage.press("ctrl+t")
        await stage.until(lambda: opened)
        assert opened == [permissions.SCREEN_PANE]


@live
async def test_the_clipboard_gives_pictures_files_text_or_a_remark(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("ctrl+v")
        await stage.until(lambda: "The clipboard holds neither" in stage.text)
        stage.world.clipboard = shot(tmp_path, "clipboard")
        await stage.press("ctrl+v")
        await stage.until(lambda: "clipboard · 1280×800" in stage.text)
        stage.world.clipboard = [chart(tmp_path)]
        await stage.press("ctrl+v")
        await stage.until(lambda: "chart.png · 1280×800" in stage.text)
        stage.world.clipboard = "two\r\nlines\x1b"
        await stage.press("ctrl+v")
        await stage.until(lambda: stage.app.chat.prompt.words == "two\nlines")


@live
async def test_what_the_model_heard_and_thought_is_shown(tmp_path: Path) -> None:
    sound = Path(__file__).parents[2] / "assets" / "demo" / "question.wav"
    events = [Heard("what is the total"), Thought("Let me look."), Token("19.56", 1)]
    async with staged(tmp_path, [events]) as stage:
        await stage.app.chat.prompt._on_paste(Paste(str(sound)))
        await stage.until(lambda: "[Audio 0:0" in stage.app.chat.prompt.text)
        await stage.ask("")
        await stage.until(lambda: "Heard: what is the total" in stage.text)
        await stage.until(lambda: "thought, 3 words" in stage.text)


@live
async def test_a_slash_offers_commands_and_enter_does_one(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("slash", "d", "o", "c")
        await stage.until(lambda: "/doctor" in stage.text)
        await stage.press("enter")
        await stage.until(lambda: "1 problem, 1 warning" in stage.text)
        assert stage.app.chat.prompt.text == ""


@live
async def test_an_at_sign_offers_files_and_enter_attaches_one(tmp_path: Path) -> None:
    chart(tmp_path)
    async with staged(tmp_path) as stage:
        await stage.write(f"@{tmp_path}/cha")
        await stage.until(lambda: stage.app.chat.suggestions.display)
        await stage.press("tab")
        await stage.until(lambda: stage.app.chat.prompt.text == "[Image #1] ")


@live
async def test_only_the_newest_turns_are_widgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "KEPT", 6)
    async with staged(tmp_path) as stage:
        for number in range(6):
            await stage.ask(f"question {number}")
        turns = len(stage.app.chat.query(QuestionView)) + len(stage.app.chat.query(AnswerView))
        assert turns == 6
        assert len(stage.app.workspace.conversation.history.turns) == 12
        assert stage.app.chat.query(".earlier")


@live
async def test_ctrl_c_asks_before_it_ends_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.app.AGAIN", 60.0)  # on a busy machine two keys are seconds apart
    async with staged(tmp_path) as stage:
        await stage.press("ctrl+c")
        await stage.until(lambda: "Press Ctrl+C again to quit." in stage.text)
        assert stage.app.is_running
        await stage.press("ctrl+c")
        assert stage.app._exit


@live
async def test_an_answer_that_comes_slowly_is_drawn_as_a_whole_at_its_end(tmp_path: Path) -> None:
    pieces = [Token(word, 1) for word in ("Look [here][1].", "\n\nThen.", "\n\n[1]: http://x.y\n")]
    async with staged(tmp_path, [pieces], tokens_per_second=5) as stage:
        await stage.ask("where?")
        await stage.until(lambda: "Look here." in stage.text)
        assert "[1]:" not in stage.text


@live
async def test_lines_are_filtered_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:  # Textual keeps filtered lines by their filter
        assert stage.app.get_line_filters()[-1] is stage.app.get_line_filters()[-1]


@live
async def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    evil = "a\x1b]0;title\x07b \x1b[31mred"
    (tmp_path / f"{evil}\r\n.txt").write_text("a note")

    def shown(stage: Stage, words: str = "a]0;titleb [31mred") -> bool:
        assert not {"\x1b", "\x07"} & set(stage.text)
        return words in stage.text

    async with staged(tmp_path, [evil], size=(120, 40)) as stage:
        chat = stage.app.chat
        await stage.ask("go")
        assert shown(stage)
        stage.app.do("new")
        await stage.until(lambda: not shown(stage))
        chat.busy(chat.media.files([tmp_path / f"{evil}\r\n.txt"]))
        await stage.until(lambda: shown(stage) and chat.prompt.chips)
        assert list(chat.prompt.chips.values())[0] in chat.prompt.text
        await stage.press("backspace", "backspace")
        await stage.until(lambda: not shown(stage))
        stage.app.notify(evil)
        await stage.until(lambda: shown(stage))
        stage.app.workspace.log.write_text(f"{evil}\n")
        await stage.press("f12")
        await stage.until(lambda: shown(stage, "a]0;titleb [31mred"))


@live
async def test_keys_of_the_settings_replace_those_of_the_table(tmp_path: Path) -> None:
    async with staged(tmp_path, settings='[keys]\nhelp = "f10"\n') as stage:
        await stage.press("f1")
        await stage.pilot.pause()
        assert stage.app.screen is stage.app.chat
        await stage.press("f10")
        await stage.until(lambda: "Shift+Enter, Ctrl+J" in stage.text)


@live
async def test_a_key_of_the_newest_card_is_on_it_alone(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for code in ("program_crashed", "model_ready"):
            offer = Problem(code, code, "It is.", "Take it.", model="tiny", good=True)
            await stage.app.chat.show_problem(offer)
        await stage.until(lambda: stage.text.count("^t") == 1)
        assert "enter resume it" in stage.text and "^t use it now" in stage.text
        assert stage.text.count("esc close") == 1
        await stage.press("escape")
        await stage.until(lambda: "^t resume it" in stage.text)


@live
async def test_rows_that_cannot_be_parked_are_one_card_until_they_can(tmp_path: Path) -> None:
    full = Failed("disk_full", "The disk is full", "It takes no more.", "Make room.")

    async with staged(tmp_path) as stage:

        def reported(*events: Failed | Idle) -> None:
            reports = [Report(None, event, stage.app.workspace.conversation.id) for event in events]
            stage.app.chat.post_message(Reports(reports))

        reported(full, Idle())
        reported(full, Idle())
        await stage.until(lambda: "What the model has read is not kept" in stage.text)
        (card,) = stage.app.chat.query(ErrorCard)
        assert "The conversation itself is saved" in card.problem.remedy
        assert "f3 settings" in stage.text
        reported(Idle())
        await stage.until(lambda: not stage.app.chat.query(ErrorCard))


@live
async def test_what_cannot_be_drawn_once_the_program_ends_changes_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:

        async def late() -> None:
            stage.app.exit(None, 143)
            await transcript.Transcript().note("on no screen any more")

        stage.app.run_worker(late())
    assert stage.app.return_code == 143
