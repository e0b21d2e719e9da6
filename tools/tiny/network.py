"""The network that is trained: Gemma 4 unified in plain torch, with the checkpoint's own names.

Screens are mostly grey, so patches come normalised and averaged over their colours (`sight`), and
the projection has a third of the checkpoint's columns; `checkpoint` spreads them over the colours
again, which is exact. Three extra heads help in training and are thrown away: one names the
characters in each patch, one spells the sound along its frames (connectionist temporal
classification, https://doi.org/10.1145/1143844.1143891), one points at the patch in which the
answer goes on.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .configuration import Shape
from .conversation import GLYPHS, PIXELS, SLOTS

FRAME = 640
READING, POINTING = 2, 3  # layers after which the helper heads look


class RMSNorm(nn.Module):
    """Root-mean-square norm with a gain, or without one."""

    def __init__(self, size: int, gain: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size)) if gain else None
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., size) in any precision; computed in float32."""
        return functional.rms_norm(x.float(), (self.size,), self.weight, 1e-6).to(x.dtype)


class Attention(nn.Module):
    """Sliding attention, or full attention whose values are its keys before their norm."""

    def __init__(self, shape: Shape, full: bool) -> None:
        super().__init__()
        self.full = full
        self.size = shape.global_head if full else shape.head
        self.heads, self.kv_heads = shape.heads, 1 if full else shape.kv_heads
        self.q_proj = nn.Linear(shape.hidden, self.heads * self.size, bias=False)
        self.k_proj = nn.Linear(shape.hidden, self.kv_heads * self.size, bias=False)
        if not full:
            self.v_proj = nn.Linear(shape.hidden, self.kv_heads * self.size, bias=False)
        self.o_proj = nn.Linear(self.heads * self.size, shape.hidden, bias=False)
        self.q_norm, self.k_norm = RMSNorm(self.size), RMSNorm(self.size)

    def forward(
        self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """(B, T, hidden); `mask` (B, 1, T, T) of bool, None for causal."""
        batch, rows, _ = x.shape
        q = self.q_proj(x).view(batch, rows, self.heads, self.size)
        k = self.k_proj(x).view(batch, rows, self.kv_heads, self.size)
        v = k if self.full else self.v_proj(x).view(batch, rows, self.kv_heads, self.size)
        v = functional.rms_norm(v.float(), (self.size,), None, 1e-6).to(x.dtype)
        q, k = _turn(self.q_norm(q), turns), _turn(self.k_norm(k), turns)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        share = self.heads // self.kv_heads
        k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=1.0
        )
        return self.o_proj(out.transpose(1, 2).reshape(batch, rows, -1))  # type: ignore[no-any-return]


class Feed(nn.Module):
    """Gated feed-forward with the tanh form of GELU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) to the same."""
        gate = functional.gelu(self.gate_proj(x), approximate="tanh")
        return self.down_proj(gate * self.up_proj(x))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention and feed-forward, each between two norms; then the layer's scalar."""

    layer_scalar: torch.Tensor

    def __init__(self, shape: Shape, full: bool) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(shape, full), Feed(shape)
        self.input_layernorm = RMSNorm(shape.hidden)
        self.post_attention_layernorm = RMSNorm(shape.hidden)
        self.pre_feedforward_layernorm = RMSNorm(shape.hidden)
        self.post_feedforward_layernorm = RMSNorm(shape.hidden)
        self.register_buffer("layer_scalar", torch.full((1,), 0.9))

    def forward(
        self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """(B, T, hidden) to the same."""
        y = self.self_attn(self.input_layernorm(x), turns, mask)
        x = x + self.post_attention_layernorm(y)
        y = self.mlp(self.pre_feedforward_layernorm(x))
        out: torch.Tensor = (x + self.post_feedforward_layernorm(y)) * self.layer_scalar
        return out


class Seeing(nn.Module):
    """Normalised patches to rows of `hidden`: projection, place, norms."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.patch_dense = nn.Linear(PIXELS, shape.hidden)
        self.patch_ln2, self.pos_norm = nn.LayerNorm(shape.hidden), nn.LayerNorm(shape.hidden)
        self.pos_embedding = nn.Parameter(torch.empty(shape.places, 2, shape.hidden))
        self.plain = RMSNorm(shape.hidden, gain=False)

    def forward(self, patches: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(P, 2304) and (P, 2) of columns and rows to (P, hidden)."""
        x = self.patch_ln2(self.patch_dense(patches))
        x = x + self.pos_embedding[places[:, 0], 0] + self.pos_embedding[places[:, 1], 1]
        seen: torch.Tensor = self.plain(self.pos_norm(x))
        return seen


class Network(nn.Module):
    """The whole model, with the helper heads beside it."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape, _full(i)) for i in range(shape.layers))
        self.norm = RMSNorm(shape.hidden)
        self.vision_embedder = Seeing(shape)
        self.embed_vision = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.embed_audio = nn.Linear(FRAME, shape.hidden, bias=False)
        self.seeing = nn.Linear(shape.hidden, SLOTS * (len(GLYPHS) + 1))
        self.hearing = nn.Linear(shape.hidden, shape.vocabulary)
        self.place_query = nn.Linear(shape.hidden, 64, bias=False)
        self.place_key = nn.Linear(shape.hidden, 64, bias=False)
        self._start()

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Hidden rows (B, T, hidden): the last, and those after the layers READING, POINTING."""
        ids, shape = batch["ids"], self.shape
        x = self.embed_tokens(ids) * math.sqrt(shape.hidden)
        if len(batch["patches"]):
            seen = self.vision_embedder(batch["patches"].to(x.dtype), batch["places"])
            x = _put(x, batch["blocks"] > 0, self.embed_vision(seen))
        if len(batch["frames"]):
            heard = functional.rms_norm(batch["frames"].float(), (FRAME,), None, 1e-6)
            x = _put(x, batch["heard"], self.embed_audio(heard))
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        place = torch.arange(ids.shape[1], device=ids.device)
        apart = place[:, None] - place[None]
        blocks = batch["blocks"]
        same = (blocks[:, :, None] == blocks[:, None]) & (blocks[:, :, None] > 0)
        near = (((apart >= 0)[None] | same) & (apart < shape.window)[None])[:, None]
        kept = []
        turns = {size: _angles(place, size, full) for size, full in
                 ((shape.head, False), (shape.global_head, True))}  # fmt: skip
        for number, layer in enumerate(self.layers):
            full = _full(number)
            size = shape.global_head if full else shape.head
            x = layer(x, turns[size], None if full else near)
            if number in (READING, POINTING):
                kept.append(x)
        return self.norm(x), *kept

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Softcapped logits (..., vocabulary) in float32."""
        raw = functional.linear(hidden, self.embed_tokens.weight.to(hidden.dtype)).float()
        return 30.0 * torch.tanh(raw / 30.0)

    def _start(self) -> None:
        # the attention scale is 1, so queries and keys are small at first
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if "q_norm" in name or "k_norm" in name:
                    weight.fill_(weight.numel() ** -0.25)
                elif "post_attention_layernorm" in name or "post_feedforward_layernorm" in name:
                    weight.fill_(0.3)
                elif "pos_embedding" in name:
                    weight.normal_(0, 0.1)
                elif "embed_tokens" in name:
                    weight.normal_(0, self.shape.hidden**-0.5)
                elif weight.ndim == 2:
                    weight.normal_(0, weight.shape[1] ** -0.5)
            self.embed_audio.weight.copy_(torch.from_numpy(_spectral(self.shape.hidden)))


def checkpoint(network: Network) -> dict[str, torch.Tensor]:
    """The state under the names of google/gemma-4-12B-it's checkpoint, float32."""
    found = {}
    for name, weight in network.state_dict().items():
        if name.startswith(("seeing", "hearing", "place_")):
            continue
        if name == "vision_embedder.patch_dense.weight":
            weight = weight.repeat_interleave(3, 1) / 3
        if name.startswith(("embed_vision", "embed_audio")):
            name = name.replace(".", ".embedding_projection.")
        elif not name.startswith("vision_embedder"):
            name = "language_model." + name
        found["model." + name] = weight.float().contiguous()
    found["model.vision_embedder.patch_ln1.weight"] = torch.ones(3 * PIXELS)
    found["model.vision_embedder.patch_ln1.bias"] = torch.zeros(3 * PIXELS)
    return found


def load_checkpoint(network: Network, weights: dict[str, torch.Tensor]) -> None:
    """Take the weights of a checkpoint of this size: exact for grey pictures; the heads stay."""
    state: dict[str, Any] = {}
    for name, weight in weights.items():
        name = name.removeprefix("model.").replace("embedding_projection.", "")
        state[name.removeprefix("language_model.").removeprefix("model.")] = weight.float()
    gain = state.pop("vision_embedder.patch_ln1.weight")
    bias = state.pop("vision_embedder.patch_ln1.bias")
    wide = state["vision_embedder.patch_dense.weight"]
    state["vision_embedder.patch_dense.bias"] += wide @ bias
    state["vision_embedder.patch_dense.weight"] = (wide * gain).unflatten(1, (PIXELS, 3)).sum(2)
    left = network.load_state_dict(state, strict=False)
    missing = [n for n in left.missing_keys if not n.startswith(("seeing", "hearing", "place_"))]
    if missing or left.unexpected_keys:
        raise ValueError(f"the checkpoint does not fit: {missing} {left.unexpected_keys}")


def _full(number: int) -> bool:
    return number % 6 == 5


def _put(x: torch.Tensor, where: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return x.masked_scatter(where[..., None], rows.to(x.dtype))


def _angles(place: torch.Tensor, size: int, full: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (T, 1, size); full layers rotate a quarter, exponents over the whole."""
    half = size // 2
    turned = half // 4 if full else half
    base = 1e6 if full else 1e4
    rate = base ** (-torch.arange(turned, device=place.device) * 2.0 / size)
    angle = torch.zeros(len(place), half, device=place.device)
    angle[:, :turned] = place[:, None] * rate
    angle = torch.cat([angle, angle], 1)[:, None]
    return angle.cos(), angle.sin()


def _turn(x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    first, second = x.float().chunk(2, -1)
    return (x * turns[0] + torch.cat([-second, first], -1) * turns[1]).to(x.dtype)


def _spectral(rows: int) -> np.ndarray:
    """Windowed cosines and sines, 60 to 4,200 Hz evenly in mel, to start the sound projection."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60.0, 4200.0))
    hertz = 700 * (10 ** (np.linspace(low, high, rows // 2) / 2595) - 1)
    turn = 2 * np.pi * hertz[:, None] * np.arange(FRAME) / 16000
    waves = np.concatenate([np.cos(turn), np.sin(turn)]) * np.hanning(FRAME)
    unit: np.ndarray = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    return unit.astype(np.float32)
