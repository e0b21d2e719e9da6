"""The losses of a run as a picture: each step's, their running mean, and the held-out ones."""

import json
from pathlib import Path

import numpy as np

FILE = "loss.png"
_MEAN = 15  # at most so many steps are averaged


def write(log: Path) -> Path | None:
    """Draw log.jsonl into the folder that it is in; None where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    steps = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    numbers = [step["number"] for step in steps]
    losses = np.array([step["loss"] for step in steps])
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(numbers, losses, color="0.75", linewidth=1, label="a step")
    size = max(1, min(_MEAN, len(losses) // 4))
    if size > 1:
        means = np.convolve(losses, np.ones(size) / size, "valid")
        axes.plot(numbers[size - 1 :], means, label=f"mean of {size} steps")
    held = [(step["number"], step["held_out"]) for step in steps if step["held_out"] is not None]
    if held:
        axes.plot(*zip(*held, strict=True), "o-", label="held-out lines")
    axes.set(xlabel="step", ylabel="loss a token of the answers (nats)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    path = log.with_name(FILE)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
