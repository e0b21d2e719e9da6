"""What a batch teaches: the answers, and what the helper heads are to find."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .conversation import GLYPHS
from .network import Network


@dataclass(frozen=True)
class Losses:
    """Means over answers' ids, patches' characters, sounds and copied characters; 0 where none."""

    answer: Tensor
    right: Tensor
    seeing: Tensor
    seen: Tensor
    hearing: Tensor
    pointing: Tensor

    def total(self, helpers: float) -> Tensor:
        """What is minimized; `helpers` weighs the helper heads."""
        return self.answer + helpers * (self.seeing + 0.1 * self.hearing + 0.3 * self.pointing)


def losses(network: Network, batch: dict[str, Tensor], helped: bool = True) -> Losses:
    """Forward a batch of `batches.collate`; without help the helper heads are left out."""
    hidden, early, middle = network(batch)
    ids = batch["ids"]
    rows, columns = batch["learn"][:, 1:].nonzero(as_tuple=True)
    scores = network.scores(hidden[rows, columns])
    targets = ids[rows, columns + 1]
    zero = scores.new_zeros(())
    seeing = seen = hearing = pointing = zero
    if helped and len(batch["patches"]):
        seeing, seen = _seeing(network, early[batch["blocks"] > 0], batch["glyphs"])
        pointing = _pointing(network, early, middle, batch)
    if helped and len(batch["frames"]):
        hearing = _hearing(network, early[batch["heard"]], batch)
    return Losses(
        functional.cross_entropy(scores, targets),
        (scores.argmax(-1) == targets).float().mean(),
        seeing,
        seen,
        hearing,
        pointing,
    )


def exact(network: Network, batch: dict[str, Tensor]) -> list[list[bool]]:
    """For each conversation and each answer: would greedy decoding return just this?

    With the right history before it, every id of the answer must be the most likely one.
    """
    hidden, *_ = network(batch)
    hits = (network.scores(hidden[:, :-1]).argmax(-1) == batch["ids"][:, 1:]).cpu()
    found = []
    for row, learned in enumerate(batch["learn"].cpu().tolist()):
        answers: list[bool] = []
        inside = False
        for column, learn in enumerate(learned):
            if learn and not inside:
                answers.append(True)
            if learn:
                answers[-1] &= bool(hits[row, column - 1])
            inside = learn
        found.append(answers)
    return found


def _seeing(network: Network, rows: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    scores = network.seeing(rows).float().view(-1, len(GLYPHS) + 1)
    wanted = wanted.flatten()
    loss = functional.cross_entropy(scores, wanted)
    drawn = wanted > 0
    right = ((scores.argmax(-1) == wanted) & drawn).sum() / drawn.sum().clamp(min=1)
    return loss, right


def _hearing(network: Network, rows: Tensor, batch: dict[str, Tensor]) -> Tensor:
    spans = batch["spans"].tolist()
    scores = network.hearing(rows).float().log_softmax(-1)
    padded = nn.utils.rnn.pad_sequence(list(scores.split(spans)))  # (F, N, vocabulary)
    return functional.ctc_loss(
        padded, batch["said"], batch["spans"], batch["said_lengths"], zero_infinity=True
    )


def _pointing(network: Network, early: Tensor, middle: Tensor, batch: dict[str, Tensor]) -> Tensor:
    rows, columns = (batch["aims"] >= 0).nonzero(as_tuple=True)
    if not len(rows):
        return early.new_zeros(()).float()
    keys = network.place_key(early).float()
    queries = network.place_query(middle[rows, columns]).float()
    blank = batch["blocks"] == 0
    loss = early.new_zeros(()).float()
    # in pieces, since each has the keys of its whole row: (N, T)
    for piece in range(0, len(rows), 1024):
        part = rows[piece : piece + 1024]
        scores = torch.einsum("nd,ntd->nt", queries[piece : piece + 1024], keys[part]) / 8
        scores = scores.masked_fill(blank[part], -1e9)
        wanted = batch["aims"][part, columns[piece : piece + 1024]]
        loss = loss + functional.cross_entropy(scores, wanted, reduction="sum")
    return loss / len(rows)
