"""Memory of a 12B with a long conversation: ours, mlx-vlm's, and what `gemma4 fit` predicts.

    python bench/memory.py [--shape 12b] [--context 262144] [--kv-bits 8] [--no-peer]
    python bench/memory.py --predict 8192 131072 [--read 1]
    python bench/memory.py --shape group --dtype float32 --predict 8192 --proposals 4
    python bench/memory.py --folder assets/tiny --drafter assets/tiny-drafter --predict 2048 \
        --dtype float32 --proposals 4

The first fills every full layer with random rows up to the context and makes one token, ours and
the peer's. The second compares the prediction with MLX's peak, after loading and with so many rows.
The others do the same where a drafter proposes: that of the 12B with random weights, or a folder's.
The checkpoint is random and packed already (`packed.py`): 7.1 GB of disk, and as much memory.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import packed
from processes import BENCH, PEER_PYTHON, Worker, need_peer

sys.path.insert(0, str(BENCH.parent))

from mlx_gemma4.footprint import device, estimate, summary

GIB = 2**30
BYTES = {"bfloat16": 2, "float32": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=packed.PACKED, default="12b")
    parser.add_argument("--context", type=int, default=262144)
    parser.add_argument("--kv-bits", type=int, choices=(4, 8))
    parser.add_argument("--dtype", choices=BYTES, default="bfloat16", help="of the activations")
    parser.add_argument("--predict", type=int, nargs="+", metavar="ROWS")
    parser.add_argument("--read", type=int, default=1, help="tokens that are read at the end")
    parser.add_argument("--proposals", type=int, help="tokens that a drafter proposes at a time")
    parser.add_argument("--drafter", type=Path, help="its folder (random weights, the 12B's shape)")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--folder", type=Path, help="of the checkpoint (out/memory)")
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    options = parser.parse_args()
    folder = options.folder or BENCH.parent / "out" / "memory" / options.shape
    if not options.folder:
        packed.make(folder, packed.PACKED[options.shape], "4bit")
    if options.predict:
        predict(folder, options)
        return
    longest(folder, "ours", options)
    if not options.no_peer:
        need_peer(options.peer_python)
        longest(folder, "peer", options)


def longest(folder: Path, name: str, options: argparse.Namespace) -> None:
    """Fill the context up to the last row, and make one token."""
    with Worker(name, options.peer_python) as side:
        loaded = side.ask("load", folder=str(folder), dtype=options.dtype)
        filled = side.ask("fill", rows=options.context - 1, kv_bits=options.kv_bits)["result"]
        if isinstance(filled, dict):
            if filled["failed"]:
                print(f"{name}: kv-bits {options.kv_bits} fails: {filled['failed']}")
                print(f"{name}: goes on with rows that are not quantized")
            filled = filled["bytes"]
        done = side.ask("read", count=1)
        print(
            f"{name}: loaded {loaded['active'] / GIB:.2f} GiB, rows {filled / GIB:.2f} GiB, "
            f"peak of one token {done['peak'] / GIB:.2f} GiB of MLX memory, "
            f"process {done['rss'] / GIB:.2f} GiB, {done['seconds']:.0f} s",
            flush=True,
        )


def predict(folder: Path, options: argparse.Namespace) -> None:
    """Compare `estimate.need` with MLX's peak of the same."""
    model = summary.of_folder(folder).model
    here = replace(device.this(), float_bytes=BYTES[options.dtype])
    with Worker("ours", options.peer_python) as side:
        loaded = side.ask("load", folder=str(folder), dtype=options.dtype)
        if options.proposals:
            drafter = options.drafter or folder.with_name("drafter")
            if not options.drafter:
                packed.make_drafter(drafter)
            proposes = summary.of_drafter(drafter)
            model = replace(model, drafter=proposes, proposals=options.proposals)
            loaded = side.ask("attach", folder=str(drafter), dtype=options.dtype)
        compare("weights after loading", estimate.weights(model, here), loaded["active"])
        for rows in options.predict:
            # a proposal is checked in the forward for which buffers grow
            read = rows - 1 if options.proposals else rows
            side.ask("fill", rows=read, kv_bits=options.kv_bits)
            if options.proposals:
                done = side.ask("draft", proposals=options.proposals, rounds=3)
            else:
                done = side.ask("read", count=options.read)
            need = estimate.need(model, here, rows + options.read, options.kv_bits)
            working = need.answering if options.read == 1 else need.reading
            name = f"{rows:,} rows, {options.read} more"
            compare(name, need.weights + need.rows + working, done["peak"])


def compare(name: str, said: int, measured: int) -> None:
    print(
        f"{name}: predicted {said / 1e9:.3f} GB, measured {measured / 1e9:.3f} GB, "
        f"{100 * (said / measured - 1):+.1f} %",
        flush=True,
    )


if __name__ == "__main__":
    main()
