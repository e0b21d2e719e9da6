"""A tokenizer of 400 entries, built like Gemma 4's: same control names, same pipeline."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..chat.tokenizer import CONTROLS

MERGES = [
    "u s", "us e", "use r", "m o", "mo d", "mod e", "mode l", "t h", "th e", "▁ the", "o u",
    "th ou", "thou g", "thoug h", "though t", "\n \n", "é é",
]  # fmt: skip

TINY_CONTROLS = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>",
    "<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>",
    "<|channel>", "<channel|>", "<|think|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
    "<|tool_response>", "<tool_response|>", '<|"|>',
)  # fmt: skip
"""In the order of their ids in `doubles.tiny_config`."""


def small_backend(controls: tuple[str, ...] = CONTROLS) -> Tokenizer:
    """BPE with byte fallback; spaces are U+2581; é has a token of its own, other letters bytes."""
    names = [*controls, *(f"<0x{byte:02X}>" for byte in range(256))]
    names += ["\n", "▁", "é", *map(chr, range(33, 127))]
    names += [merge.replace(" ", "") for merge in MERGES]
    backend = Tokenizer(
        models.BPE(
            vocab={name: number for number, name in enumerate(dict.fromkeys(names))},
            merges=[(merge.split(" ")[0], merge.split(" ")[1]) for merge in MERGES],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(" "), "merged_with_previous")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in controls])
    return backend
