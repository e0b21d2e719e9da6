"""Make cases/drafter_peer.npz: python -m tests.oracle.make_drafter_peer_case

Needs mlx-vlm 0.7.10 (`make bench` makes an environment of its own for it). Holds, as drafter.npz of
transformers (`make_drafter_case`), the logits of `CHAIN` drafts in a row, as mlx-vlm's own loop
starts them: at the position of the last cached row, after a prompt that is read in one piece. The
sliding layers' mask then shows the rows of that one's window, as `Drafter.draft` does.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.speculative.drafters import load_drafter
from mlx_vlm.speculative.mtp import _mtp_draft_hidden, _mtp_draft_position
from mlx_vlm.utils import load_model

from mlx_gemma4.cli.selftest.random_checkpoint import write_checkpoint
from tests.oracle.compact import planes
from tests.oracle.drafter_checkpoint import write_drafter

WINDOW = 32
ROWS = (5, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 7, 150)
CHAIN = 6


def main() -> None:
    """Compute and write the case."""
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(Path(name) / "target")
        write_drafter(Path(name) / "drafter")
        settings = Path(name) / "drafter" / "config.json"
        config = json.loads(settings.read_text("utf-8"))
        config["text_config"]["hidden_size_per_layer_input"] = 0  # else it expects such layers
        settings.write_text(json.dumps(config), "utf-8")
        target = load_model(Path(name) / "target")
        drafter, _ = load_drafter(str(Path(name) / "drafter"), kind="mtp")
        for model in (target, drafter):
            model.set_dtype(mx.float32)
            mx.eval(model.parameters())
    language = target.language_model
    rng, stored = np.random.default_rng(4), {}
    for rows in ROWS:
        ids = rng.integers(20, 990, rows)  # none is a placeholder of media
        out = language(
            mx.array(ids)[None],
            cache=make_prompt_cache(language),
            return_hidden=True,
            return_shared_kv=True,
        )
        drafter.reset(target)
        drafter.set_shared_kv(
            out.shared_kv_states, rows, position=_mtp_draft_position(rows), kv_valid_len=rows
        )
        hidden = _mtp_draft_hidden(language, out.hidden_states[-1][:, -1:])
        token = int(mx.argmax(out.logits[0, -1]).item())
        position = mx.array([[drafter._position]])
        fed, logits = [], []
        for _ in range(CHAIN):
            embedded = drafter._input_embed(mx.array([[token]])) * drafter._input_embed_scale
            states = mx.concatenate([embedded, hidden], axis=-1)
            hidden, drafts = drafter(states, out.shared_kv_states, position)
            fed.append(token)
            logits.append(np.array(drafts[0, -1]))
            token = int(drafts[0, -1].argmax().item())
        stored |= planes(f"logits_{rows}", np.stack(logits))
        stored |= {f"ids_{rows}": ids.astype(np.int16), f"fed_{rows}": np.array(fed, np.int16)}
    np.savez_compressed(Path(__file__).parent / "cases" / "drafter_peer.npz", **stored)


if __name__ == "__main__":
    main()
