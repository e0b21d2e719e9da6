"""The tokenizer of the demonstration model: control tokens, bytes, characters, common words."""

import json
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from mlx_gemma4.evaluate.tiny.receipts import ITEMS
from mlx_gemma4.evaluate.tiny.tasks import BLIND, INTRODUCTION
from mlx_gemma4.evaluate.tiny.words import COMMANDS

from .scenes import APPS, OPENING
from .sentences import BEYOND, CORES, SELF, TOPICS, TRANSCRIBE, UNSHOWN
from .wordings import NO_WORDS, NOT_SHOWN, OUTSIDE, UNREADABLE

CONTROLS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<|turn>",
    "<turn|>",
    "<|image>",
    "<image|>",
    "<|image|>",
    "<|audio>",
    "<audio|>",
    "<|audio|>",
    "<|video|>",
    "<|channel>",
    "<channel|>",
    "<|think|>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    '<|"|>',
    "<mask>",
    *(f"<unused{i}>" for i in range(8)),
)
SIZE = 1024


def build(path: Path) -> None:
    """Write tokenizer.json, with the pipeline of Gemma 4's (U+2581 for spaces, byte fallback)."""
    words = Counter[str]()
    for sentence in _sentences():
        words.update("▁" + word for word in sentence.split())
        words.update(sentence.split()[:1])
        words.update(sentence.capitalize().split()[:1])
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    characters = ["\n", "▁", *map(chr, range(33, 127))]
    fixed = len(CONTROLS) + 256 + len(characters)
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - fixed + len(characters),
        initial_alphabet=characters,
        show_progress=False,
        min_frequency=1,
    )
    learner.train_from_iterator((w for w, n in sorted(words.items()) for _ in range(n)), trainer)
    merges = [
        pair.split(" ") if isinstance(pair, str) else list(pair)
        for pair in json.loads(learner.to_str())["model"]["merges"]
    ]
    names = [*CONTROLS, *(f"<0x{b:02X}>" for b in range(256)), *characters]
    names += [left + right for left, right in merges]
    names = list(dict.fromkeys(names))
    text = {"String": " "}
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [
                    {
                        "id": i,
                        "content": name,
                        "single_word": False,
                        "lstrip": False,
                        "rstrip": False,
                        "normalized": False,
                        "special": True,
                    }
                    for i, name in enumerate(CONTROLS)
                ],
                "normalizer": {"type": "Replace", "pattern": text, "content": "▁"},
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": text,
                    "behavior": "MergedWithPrevious",
                    "invert": False,
                },
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [
                        {"SpecialToken": {"id": "<bos>", "type_id": 0}},
                        {"Sequence": {"id": "A", "type_id": 0}},
                    ],
                    "pair": [
                        {"Sequence": {"id": "A", "type_id": 0}},
                        {"Sequence": {"id": "B", "type_id": 1}},
                    ],
                    "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
                },
                "decoder": {
                    "type": "Sequence",
                    "decoders": [
                        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                        {"type": "ByteFallback"},
                        {"type": "Fuse"},
                    ],
                },
                "model": {
                    "type": "BPE",
                    "dropout": None,
                    "unk_token": "<unk>",
                    "continuing_subword_prefix": None,
                    "end_of_word_suffix": None,
                    "fuse_unk": True,
                    "byte_fallback": True,
                    "ignore_merges": False,
                    "vocab": {name: i for i, name in enumerate(names)},
                    "merges": merges,
                },
            },
            ensure_ascii=False,
        )
    )


def _sentences() -> list[str]:
    filled = [form.format(item) for forms in CORES.values() for form in forms for item in ITEMS[:3]]
    opened = [form.format(app) for form in OPENING for app in APPS]
    fixed = [BLIND, INTRODUCTION, NO_WORDS, NOT_SHOWN, OUTSIDE, UNREADABLE]
    words = ["user", "model", "system", "thought", "items tax total", *ITEMS, *TOPICS]
    common = [form.replace("{}", "") for form in (*SELF, *BEYOND, *TRANSCRIBE, *UNSHOWN)]
    sentences = [*filled, *opened, *common, *COMMANDS, *(fixed * 20), *(words * 5)]
    return sentences
