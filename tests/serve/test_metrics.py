"""What /metrics counts."""

from mlx_gemma4.serve.metrics import Metrics


def test_proposed_and_accepted_tokens_are_counted_over_all_replies() -> None:
    metrics = Metrics()
    for drafted, accepted in ((8, 5), (4, 0)):
        drawn = {"reply_tokens": 9, "drafted": drafted, "accepted": accepted}
        metrics.replied(drawn, 0.2)
    metrics.replied({"reply_tokens": 1}, None)
    lines = metrics.text({}).splitlines()
    assert "gemma4_tokens_drafted_total 12" in lines
    assert "gemma4_tokens_accepted_total 5" in lines
    assert "gemma4_tokens_drawn_total 19" in lines
