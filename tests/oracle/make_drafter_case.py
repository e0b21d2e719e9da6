"""Make cases/drafter.npz: python -m tests.oracle.make_drafter_case

Needs torch and transformers 5.24 (5.23 refuses the drafter of the 12B's form). Holds, for contexts
of `ROWS` random ids, the logits of `CHAIN` drafts in a row by Gemma4UnifiedAssistantForCausalLM
over the checkpoints that these modules write, in float32, and the ids that were fed to them.
There the position of a draft is the number of cached rows, and a sliding layer shows a row more
than its window.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import Gemma4UnifiedAssistantForCausalLM, Gemma4UnifiedForConditionalGeneration

from mlx_gemma4.cli.selftest.random_checkpoint import write_checkpoint
from tests.oracle.compact import planes
from tests.oracle.drafter_checkpoint import write_drafter

WINDOW = 32
ROWS = (5, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 7, 150)
CHAIN = 6


def load(kind: type, folder: Path) -> torch.nn.Module:
    """Load a folder in float32, with plain attention."""
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


@torch.no_grad()
def main() -> None:
    """Compute and write the case."""
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(Path(name) / "target")
        write_drafter(Path(name) / "drafter")
        target = load(Gemma4UnifiedForConditionalGeneration, Path(name) / "target")
        drafter = load(Gemma4UnifiedAssistantForCausalLM, Path(name) / "drafter")
    vocabulary = target.config.get_text_config().vocab_size
    rng, stored = np.random.default_rng(3), {}
    for rows in ROWS:
        ids = rng.integers(20, vocabulary, rows)
        out = target(
            input_ids=torch.tensor(ids)[None],
            output_hidden_states=True,
            return_shared_kv_states=True,
            use_cache=True,
        )
        hidden = out.hidden_states[-1][:, -1:]
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        fed, logits = [], []
        for _ in range(CHAIN):
            embedded = target.get_input_embeddings()(token)
            draft = drafter(
                inputs_embeds=torch.cat([embedded, hidden], -1),
                position_ids=torch.tensor([[rows]]),
                attention_mask=torch.ones(1, rows + 1, dtype=torch.long),
                shared_kv_states=out.shared_kv_states,
            )
            fed.append(int(token))
            logits.append(draft.logits[0, -1].numpy())
            token, hidden = draft.logits[:, -1].argmax(-1, keepdim=True), draft.last_hidden_state
        stored |= planes(f"logits_{rows}", np.stack(logits))
        stored |= {f"ids_{rows}": ids.astype(np.int16), f"fed_{rows}": np.array(fed, np.int16)}
    np.savez_compressed(Path(__file__).parent / "cases" / "drafter.npz", **stored)


if __name__ == "__main__":
    main()
