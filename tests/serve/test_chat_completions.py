"""Chat completions with the tiny model, as a program uses them."""

import httpx2

from .serving import asked, chat, events, picture, said, sound, text

TOTAL = text("what is the total?")


def test_a_picture_is_read(server: httpx2.Client) -> None:
    answer = chat(server, asked(TOTAL, picture()))
    assert said(answer) == "19.56"
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "stop"
    counts = answer["usage"]
    assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]


def test_a_sound_is_heard(server: httpx2.Client) -> None:
    assert said(chat(server, asked(sound()))) == "40715"


def test_a_stream_has_a_role_the_text_a_reason_and_the_counts(server: httpx2.Client) -> None:
    *chunks, counts, done = events(
        server, asked(TOTAL, picture(), stream_options={"include_usage": True})
    )
    assert done == "[DONE]"
    assert counts["choices"] == [] and counts["usage"]["completion_tokens"] > 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == "19.56"
    assert [c["choices"][0]["finish_reason"] for c in chunks[-2:]] == [None, "stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_the_server_is_healthy_and_has_one_model(server: httpx2.Client) -> None:
    assert server.get("/health").json() == {"status": "ok"}
    (model,) = server.get("/v1/models").json()["data"]
    assert model["id"] == "tiny" and model["object"] == "model"
    assert server.get("/v1/models/tiny").json() == model
    missing = server.get("/v1/models/nope")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"
