"""The reference model that is trained: transformers' own class, a tiny configuration, our masks.

Three extra heads help in training and are thrown away. After the third layer one names the
characters in each patch, and one spells what was said along the frames (connectionist temporal
classification, https://doi.org/10.1145/1143844.1143891); after the fourth, one points at the patch
that holds the next character of the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

from .conversation import GLYPHS, SLOTS, Example
from .vocabulary import CONTROLS

READING_LAYER, POINTING_LAYER = 2, 3


def configuration(vocabulary: int) -> Gemma4UnifiedConfig:
    """Every trait of the 12B in five million parameters.

    global_head_dim 256 rotates 64 dimensions, two blocks of 32: whole groups when quantized by 32.
    """
    token = CONTROLS.index
    return Gemma4UnifiedConfig(
        image_token_id=token("<|image|>"),
        audio_token_id=token("<|audio|>"),
        video_token_id=token("<|video|>"),
        boi_token_id=token("<|image>"),
        eoi_token_id=token("<image|>"),
        boa_token_id=token("<|audio>"),
        eoa_token_index=token("<audio|>"),
        tie_word_embeddings=True,
        text_config=dict(
            vocab_size=vocabulary,
            hidden_size=192,
            intermediate_size=576,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            global_head_dim=256,
            num_global_key_value_heads=1,
            attention_k_eq_v=True,
            sliding_window=512,
            max_position_embeddings=8192,
            rms_norm_eps=1e-6,
            hidden_activation="gelu_pytorch_tanh",
            final_logit_softcapping=30.0,
            use_bidirectional_attention="vision",
            num_kv_shared_layers=0,
            tie_word_embeddings=True,
            layer_types=["sliding_attention"] * 5 + ["full_attention"],
            rope_parameters=dict(
                full_attention=dict(
                    rope_type="proportional", partial_rotary_factor=0.25, rope_theta=1e6
                ),
                sliding_attention=dict(rope_type="default", rope_theta=1e4),
            ),
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=[1, token("<turn|>")],
        ),
        vision_config=dict(
            patch_size=16,
            pooling_kernel_size=3,
            mm_embed_dim=192,
            mm_posemb_size=128,
            output_proj_dims=192,
            rms_norm_eps=1e-6,
        ),
        audio_config=dict(audio_embed_dim=640, rms_norm_eps=1e-6),
    )


def build(vocabulary: int, seed: int) -> Gemma4UnifiedForConditionalGeneration:
    """A fresh model. q_norm and k_norm start at head_dim^-1/4, since the attention scale is 1."""
    torch.manual_seed(seed)
    config = configuration(vocabulary)
    config._attn_implementation = "sdpa"
    model = Gemma4UnifiedForConditionalGeneration(config).float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_norm" in name or "k_norm" in name:
                weight.fill_(weight.numel() ** -0.25)
            elif "post_attention_layernorm" in name or "post_feedforward_layernorm" in name:
                weight.fill_(0.3)
            elif "pos_embedding" in name:
                weight.normal_(0, 0.1)
            elif "embed_tokens" in name:
                weight.normal_(0, 192**-0.5)
            elif weight.ndim == 2:
                weight.normal_(0, weight.shape[1] ** -0.5)
        for name, scalar in model.named_buffers():
            if name.endswith("layer_scalar"):
                scalar.fill_(0.9)
        audio = model.model.embed_audio.embedding_projection.weight
        audio.copy_(torch.from_numpy(_spectral(audio.shape[0])))
    return model


class Heads(nn.Module):
    """The helpers of training; not part of the checkpoint."""

    def __init__(self, vocabulary: int, hidden: int = 192) -> None:
        super().__init__()
        self.seeing = nn.Linear(hidden, SLOTS * (len(GLYPHS) + 1))
        self.hearing = nn.Linear(hidden, vocabulary)
        self.place_query = nn.Linear(hidden, 64, bias=False)
        self.place_key = nn.Linear(hidden, 64, bias=False)


@dataclass(frozen=True)
class Losses:
    """Means over answers' ids, patches' characters and sounds; None where a batch has none."""

    answer: torch.Tensor
    seeing: torch.Tensor | None
    hearing: torch.Tensor | None
    pointing: torch.Tensor | None
    right: float
    seen: float


def run(
    model: Gemma4UnifiedForConditionalGeneration, heads: Heads, examples: Sequence[Example]
) -> Losses:
    """Forward a batch, right-padded; losses on answers only, plus the helpers' losses."""
    ids, learn, blocks = _stack(examples)
    hidden, early, middle = _decode(model, ids, blocks, examples)
    rows, columns = learn[:, 1:].nonzero(as_tuple=True)
    scores = _scores(model, hidden[rows, columns])
    targets = ids[rows, columns + 1]
    answer = functional.cross_entropy(scores, targets)
    right = float((scores.argmax(-1) == targets).float().mean())
    seeing, seen = _seeing(heads, early, blocks, examples)
    hearing = _hearing(model, heads, early, ids, examples)
    return Losses(
        answer, seeing, hearing, _pointing(heads, early, middle, blocks, examples), right, seen
    )


def exact(
    model: Gemma4UnifiedForConditionalGeneration, examples: Sequence[Example]
) -> list[list[bool]]:
    """For each conversation, for each answer: would greedy decoding give just this?

    With the right history before it, every id of the answer must be the most likely one.
    """
    ids, learn, blocks = _stack(examples)
    hidden, *_ = _decode(model, ids, blocks, examples)
    hits = _scores(model, hidden[:, :-1]).argmax(-1) == ids[:, 1:]
    found = []
    for row, example in enumerate(examples):
        answers, inside = [], False
        for column, learned in enumerate(example.learn):
            if learned and not inside:
                answers.append(True)
            if learned:
                answers[-1] &= bool(hits[row, column - 1])
            inside = learned
        found.append(answers)
    return found


def _stack(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    length = max(len(e.ids) for e in examples)
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    learn = torch.zeros(len(examples), length, dtype=torch.bool)
    blocks = torch.zeros(len(examples), length, dtype=torch.long)
    for row, e in enumerate(examples):
        ids[row, : len(e.ids)] = torch.tensor(e.ids)
        learn[row, : len(e.ids)] = torch.tensor(e.learn)
        blocks[row, : len(e.ids)] = torch.tensor(e.blocks)
    return ids, learn, blocks


def _scores(model: Gemma4UnifiedForConditionalGeneration, hidden: torch.Tensor) -> torch.Tensor:
    return 30.0 * torch.tanh(model.lm_head(hidden) / 30.0)


def _decode(
    model: Gemma4UnifiedForConditionalGeneration,
    ids: torch.Tensor,
    blocks: torch.Tensor,
    examples: Sequence[Example],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    config = model.config
    inputs = model.get_input_embeddings()(ids)
    pictures = [p for e in examples for p in e.patches]
    if pictures:
        positions = np.concatenate([p for e in examples for p in e.positions])
        rows = model.model.embed_vision(
            torch.from_numpy(np.concatenate(pictures))[None],
            torch.from_numpy(positions).long()[None],
        ).pooler_output[0]
        inputs = inputs.masked_scatter((ids == config.image_token_id)[..., None], rows)
    sounds = [f for e in examples for f in e.frames]
    if sounds:
        rows = model.model.embed_audio(torch.from_numpy(np.concatenate(sounds)))
        inputs = inputs.masked_scatter((ids == config.audio_token_id)[..., None], rows)
    place = torch.arange(ids.shape[1])
    causal = place[:, None] >= place[None]
    near = (place[:, None] - place[None]) < config.text_config.sliding_window
    same = (blocks[:, :, None] == blocks[:, None]) & (blocks[:, :, None] > 0)
    kept: list[torch.Tensor] = []
    layers = model.model.language_model.layers
    hooks = [
        layers[number].register_forward_hook(
            lambda _m, _i, out: kept.append(out[0] if isinstance(out, tuple) else out)
        )
        for number in (READING_LAYER, POINTING_LAYER)
    ]
    try:
        hidden = model.model.language_model(
            inputs_embeds=inputs,
            position_ids=place[None],
            use_cache=False,
            attention_mask={
                "full_attention": causal[None, None].expand(len(ids), 1, -1, -1),
                "sliding_attention": ((causal | same) & near)[:, None],
            },
        ).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    return hidden, kept[0], kept[1]


def _seeing(
    heads: Heads, early: torch.Tensor, blocks: torch.Tensor, examples: Sequence[Example]
) -> tuple[torch.Tensor | None, float]:
    labels = [g for e in examples for g in e.glyphs]
    if not labels:
        return None, 0.0
    wanted = torch.from_numpy(np.concatenate(labels))
    scores = heads.seeing(early[blocks > 0]).view(-1, len(GLYPHS) + 1)
    loss = functional.cross_entropy(scores, wanted.flatten())
    drawn = wanted.flatten() > 0
    right = (scores.argmax(-1) == wanted.flatten())[drawn].float().mean()
    return loss, float(right)


def _hearing(
    model: Gemma4UnifiedForConditionalGeneration,
    heads: Heads,
    early: torch.Tensor,
    ids: torch.Tensor,
    examples: Sequence[Example],
) -> torch.Tensor | None:
    lengths = [len(f) for e in examples for f in e.frames]
    said = [s for e in examples for s in e.said]
    if not lengths:
        return None
    rows = heads.hearing(early[ids == model.config.audio_token_id]).log_softmax(-1)
    padded = nn.utils.rnn.pad_sequence(list(rows.split(lengths)))  # (F, N, vocabulary)
    return functional.ctc_loss(
        padded,
        torch.tensor([t for s in said for t in s]),
        torch.tensor(lengths),
        torch.tensor([len(s) for s in said]),
        zero_infinity=True,
    )


def _pointing(
    heads: Heads,
    early: torch.Tensor,
    middle: torch.Tensor,
    blocks: torch.Tensor,
    examples: Sequence[Example],
) -> torch.Tensor | None:
    wanted = torch.full(blocks.shape, -1)
    for row, example in enumerate(examples):
        wanted[row, : len(example.places)] = torch.tensor(example.places)
    rows, columns = (wanted >= 0).nonzero(as_tuple=True)
    if not len(rows):
        return None
    keys = heads.place_key(early)
    scores = (heads.place_query(middle[rows, columns])[:, None] * keys[rows]).sum(-1) / 8
    scores = scores.masked_fill(blocks[rows] == 0, -1e9)
    return functional.cross_entropy(scores, wanted[rows, columns])


def _spectral(rows: int) -> np.ndarray:
    """Windowed cosines and sines, 60 to 4,200 Hz evenly in mel, to start the sound projection."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60.0, 4200.0))
    hertz = 700 * (10 ** (np.linspace(low, high, rows // 2) / 2595) - 1)
    turn = 2 * np.pi * hertz[:, None] * np.arange(640) / 16000
    waves = np.concatenate([np.cos(turn), np.sin(turn)]) * np.hanning(640)
    return (waves / np.linalg.norm(waves, axis=1, keepdims=True)).astype(np.float32)
