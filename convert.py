"""Make a model folder with fewer bits: `python convert.py SOURCE`, the same as `gemma4 convert`."""

import sys

from mlx_gemma4.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
