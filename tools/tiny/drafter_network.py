"""The drafter as it is trained: `mlx_gemma4.model.drafter` in torch, over rows as data."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlx_gemma4.checkpoint.shapes import drafter_shapes
from mlx_gemma4.model.config import SLIDING, TextConfig
from mlx_gemma4.model.drafter_config import DrafterConfig

EPS = 1e-6
KeysValues = Mapping[str, tuple[Tensor, Tensor]]
"""By kind of layer, the target's keys and values (B, kv heads, T, D), in the published order."""


class DrafterNetwork(nn.Module):
    """Parameters by the checkpoint's own names; `config` and `target` decide their shapes."""

    def __init__(self, config: DrafterConfig, target: TextConfig, seed: int) -> None:
        super().__init__()
        self.config, self.text, self.target = config, config.text_config, target
        generator = torch.Generator().manual_seed(seed)
        self.weights = nn.ParameterDict()
        for name, shape in drafter_shapes(config).items():
            if name.endswith("layer_scalar"):
                continue
            if len(shape) == 2:
                value = torch.randn(shape, generator=generator) * shape[1] ** -0.5
            elif name.endswith("q_norm.weight"):
                value = torch.full(shape, shape[0] ** -0.25)
            else:
                value = torch.full(shape, 0.3 if ".post_" in name else 1.0)
            self.weights[name.replace(".", "/")] = nn.Parameter(value)

    def checkpoint(self) -> dict[str, Tensor]:
        """Every tensor by its name in a checkpoint, in bfloat16."""
        named = {name.replace("/", "."): value for name, value in self.weights.items()}
        scalars = {f"model.layers.{n}.layer_scalar": torch.ones(1) for n in range(self.layers)}
        return {
            name: value.detach().to("cpu", torch.bfloat16).contiguous()
            for name, value in {**named, **scalars}.items()
        }

    @property
    def layers(self) -> int:
        return len(self.text.layer_types)

    def step(
        self,
        embedded: Tensor,
        hidden: Tensor,
        seen: KeysValues,
        masks: Mapping[str, Tensor],
        positions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One draft of each of A places of B conversations.

        Args:
            embedded: (B, A, backbone) of the tokens, scaled.
            hidden: (B, A, backbone) of the rows that predicted them.
            seen: the target's keys and values.
            masks: by kind of layer (B, A, T), added to the scores.
            positions: (B, A) of the queries.

        Returns:
            Logits (B, A, vocab) and the next hidden states.
        """
        x = self._linear("pre_projection", torch.cat([embedded, hidden], -1))
        for number, kind in enumerate(self.text.layer_types):
            at = f"model.layers.{number}."
            drawn = self._norm(f"{at}input_layernorm", x)
            drawn = self._attend(f"{at}self_attn.", kind, drawn, seen[kind], masks[kind], positions)
            x = x + self._norm(f"{at}post_attention_layernorm", drawn)
            inner = self._norm(f"{at}pre_feedforward_layernorm", x)
            gate = F.gelu(self._linear(f"{at}mlp.gate_proj", inner), approximate="tanh")
            inner = gate * self._linear(f"{at}mlp.up_proj", inner)
            inner = self._linear(f"{at}mlp.down_proj", inner)
            x = x + self._norm(f"{at}post_feedforward_layernorm", inner)
        x = self._norm("model.norm", x)
        return x @ self._weight("model.embed_tokens").T, self._linear("post_projection", x)

    def _attend(
        self,
        at: str,
        kind: str,
        x: Tensor,
        seen: tuple[Tensor, Tensor],
        mask: Tensor,
        positions: Tensor,
    ) -> Tensor:
        keys, values = seen
        batch, places, _ = x.shape
        heads, shared, dims = self.text.num_attention_heads, keys.shape[1], keys.shape[3]
        queries = self._linear(f"{at}q_proj", x).view(batch, places, heads, dims)
        queries = self._rope(kind, self._norm(f"{at}q_norm", queries), positions)
        # (B, A, heads, D) -> (B, kv heads, heads / kv heads * A, D)
        queries = queries.permute(0, 2, 1, 3).reshape(batch, shared, -1, dims)
        scores = (queries @ keys.mT).view(batch, heads, places, -1) + mask[:, None]
        mixed = scores.softmax(-1).view(batch, shared, -1, keys.shape[2]) @ values
        mixed = mixed.view(batch, heads, places, dims).transpose(1, 2)
        return self._linear(f"{at}o_proj", mixed.reshape(batch, places, -1))

    def _rope(self, kind: str, x: Tensor, positions: Tensor) -> Tensor:
        """(B, A, heads, D): all of it turns on sliding layers, `rotated_dims` on full ones."""
        dims, rope = x.shape[-1], self.target.rope_parameters[kind]
        turning = dims if kind == SLIDING else self.target.rotated_dims
        steps = rope.rope_theta ** (-torch.arange(0, turning, 2, device=x.device) / dims)
        steps = F.pad(steps, (0, (dims - turning) // 2))
        angles = (positions[..., None] * steps)[:, :, None]
        one, other = x.chunk(2, -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)

    def _weight(self, name: str) -> Tensor:
        return self.weights[f"{name}.weight".replace(".", "/")]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._weight(name))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self._weight(name), EPS)
