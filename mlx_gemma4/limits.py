"""Numbers that several parts share: what runs a model and predicts it, and what input may take."""

from collections.abc import Mapping
from typing import Literal

Backend = Literal["metal", "cuda", "cpu"]

STEP = 256
"""A cache buffer's capacity, in rows, is a multiple of it."""

SLACK = 256
"""Rows beyond the window that a sliding layer keeps: as many can be dropped again for free."""

SEGMENT = 8192
"""Tokens that are embedded at a time: 63 MB of the 12B's embeddings in bfloat16."""

SCORE_LIMIT = 256_000_000
"""Bytes of fp32 attention scores that a layer may hold at once."""

TRAINING_SCORE_LIMIT = 64_000_000
"""The same for a pass with gradients, in which about four times as much is alive."""

CHUNKS: Mapping[Backend, int] = {"metal": 1024, "cuda": 512, "cpu": 512}
"""Tokens in a chunk of prefill; a cancel waits for the end of one."""

STREAMED_QUERIES, STREAMED_HEAD_DIM = 1024, 512
"""Metal's blocked kernel holds no scores: causal, 16 bits, so many queries or more, this wide."""

FREED_BYTES = 2**30
"""Bytes of freed buffers that MLX may keep on a Mac; a step of the 12B uses about 0.8 GB again."""

FREED_TOKENS = 256
"""Tokens of a reply after which freed buffers are released: as a context grows, few fit again."""

PICTURE_TOKENS = 20 * 1120
"""Tokens of pictures that a prediction counts as held: 20 screenshots, if so many fit."""
PICTURE_BYTES = 48 * 48 * 3
"""Bytes that a conversation holds for a token of a picture: the patch's levels."""

PROPOSALS = 6
"""Tokens that are proposed at a time at most, unless a number was chosen."""

# Of one input: compared with what a header announces, before anything is decoded.
PICTURE_PIXELS = 90_000_000
"""Pixels of the largest picture: 360 MB when it is decoded, and again while it is made RGB."""
PICTURE_SIDE = 65_535
"""Pixels of its longest side, which is also the most that a JPEG can have."""
SOUND_SECONDS = 3_600
"""Seconds of the longest sound file: 230 MB at 16 kHz."""
VIDEO_PIXELS = 36_000_000
"""Pixels of a frame of the largest video (8K); 32 frames are looked at, one after another."""
VIDEO_FRAMES = 2_000_000
"""Frames of the longest video: nine hours at 60 a second."""
HEADER_BYTES = 16 * 2**20
"""Bytes of the header of a safetensors file; that of the 12B has 0.1 MB."""
JSON_BYTES = 16 * 2**20
"""Bytes of a JSON file of a model folder, and `JSON_DEPTH` is how deeply it may be nested."""
JSON_DEPTH = 64
SCHEMA_BYTES = 256 * 2**10
"""Bytes of a JSON schema that a reply keeps to."""
TOKENIZER_BYTES = 256 * 2**20
"""Bytes of tokenizer.json; that of Gemma 4 has 15 MB."""
TEMPLATE_BYTES = 256 * 2**10
"""Bytes of a chat template; the published ones have 16 kB."""
TEMPLATE_STEPS = 300_000
"""Steps that a chat template may take, beside those that a longer conversation adds."""
TEMPLATE_CHARACTERS = 2**24
"""Characters of a string that a chat template may make."""
CONFIG_SIZE = 2**20
"""The largest size that a config may ask for, where nothing else is known of it."""
CONFIG_LAYERS = 1_024
CONFIG_VOCABULARY = 2**22
CONFIG_CONTEXT = 2**26
