"""Several clients at once: nobody waits for another's whole answer, nor gets another's words."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mlx_gemma4.runtime.commands import SessionSettings
from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
from mlx_gemma4.serve.engine import EngineOptions

from .serving import ASSETS, asked, chat, events, picture, said, served, sound, text, until


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with served(SubprocessWorker(), EngineOptions(str(ASSETS / "tiny"), slots=2)) as client:
        yield client


def both(*work: Any) -> list[Any]:
    """What each of several functions returns, run at once."""
    results: list[Any] = [None] * len(work)

    def run(number: int) -> None:
        results[number] = work[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_four_conversations_over_two_slots_are_answered_as_each_would_be_alone(
    folder: Path,
) -> None:
    # weights are random: what is drawn depends on every word before it
    documents = [f"shop {name} sold {n} apples for {n}.50 " * 4 for n, name in enumerate("abcd", 3)]
    read = []

    def turns(client: httpx2.Client, document: str) -> list[str]:
        messages: list[dict[str, Any]] = [{"role": "system", "content": document}]
        answers = []
        for question in ("what is the total?", "and the tax?", "which shop?"):
            messages.append({"role": "user", "content": question})
            answer = chat(client, {"messages": messages, "seed": 1, "max_tokens": 6})
            counts = answer["usage"]
            read.append(counts["prompt_tokens"] - counts["prompt_tokens_details"]["cached_tokens"])
            answers.append(said(answer))
            messages.append({"role": "assistant", "content": answers[-1]})
        return answers

    with served(SubprocessWorker(), EngineOptions(str(folder), slots=2)) as client:
        alone = [turns(client, document) for document in documents]
        assert len({*map(tuple, alone)}) == 4  # else a mix-up would not show
        least = sum(read)
        together = both(*(lambda document=d: turns(client, document) for d in documents))
        assert together == alone
        figures = f"four conversations over two slots read {sum(read) - least}; alone {least}\n"
        sys.stdout.write(figures)
        until(lambda: client.engine.busy == client.engine.waiting == 0)


def test_the_words_of_a_picture_stay_with_who_sent_it(client: httpx2.Client) -> None:
    question = text("what is the total?")
    seen, unseen = both(
        lambda: said(chat(client, asked(question, picture()))),
        lambda: said(chat(client, asked(question))),
    )
    assert seen == "19.56"
    assert "19.56" not in unseen


def test_an_answer_comes_while_another_is_drawn_which_stays_as_it_would_be_alone(
    client: httpx2.Client,
) -> None:
    long = asked(text("count"), max_tokens=300, temperature=1, seed=5)
    alone = said(chat(client, long))
    order: list[str] = []

    def drawn() -> str:
        answer = said(chat(client, long))
        order.append("long")
        return answer

    def quick() -> str:
        answer = said(chat(client, asked(text("what is the total?"), picture())))
        order.append("quick")
        return answer

    assert both(drawn, quick) == [alone, "19.56"]


def test_the_second_turn_over_a_picture_reads_little_again(client: httpx2.Client) -> None:
    first = asked(text("what is the total?"), picture())
    answer = chat(client, first)
    message = {"role": "assistant", "content": said(answer)}
    follow = {"role": "user", "content": "what is the tax"}
    second = chat(client, {**first, "messages": [*first["messages"], message, follow]})
    assert said(second) == "3.26"
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= 0.9 * answer["usage"]["prompt_tokens"]


def test_several_replies_are_wanted_at_once(client: httpx2.Client) -> None:
    body = asked(text("what is the total?"), picture(), n=2)
    answer = chat(client, body)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"19.56"}
    *chunks, _ = events(client, body)
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1}


def test_an_answer_ends_before_a_text_that_stops_it(client: httpx2.Client) -> None:
    body = asked(text("what is the total?"), picture(), stop=["56", "never"])
    assert said(chat(client, body)) == "19."
    *chunks, _ = events(client, body)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "19."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_relayed_sound_that_comes_back_is_the_same_text_and_not_read_again() -> None:
    settings = SessionSettings(hearing="relay")
    options = EngineOptions(str(ASSETS / "tiny"), slots=1, settings=settings)
    with served(SubprocessWorker(), options) as client:
        first = asked(text("what is said?"), sound())
        answer = chat(client, first)
        message = {"role": "assistant", "content": said(answer)}
        follow = {"role": "user", "content": "and now?"}
        second = chat(client, {**first, "messages": [*first["messages"], message, follow]})
    counts = second["usage"]
    # as sound the question would have 25 tokens for each second of it
    assert answer["usage"]["prompt_tokens"] < 60
    new = counts["prompt_tokens"] - counts["prompt_tokens_details"]["cached_tokens"]
    assert new < counts["prompt_tokens"] / 2
