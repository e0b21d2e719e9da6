"""The command `gemma4`, also as `python -m mlx_gemma4`."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C while it is still imported ends it as later."""
    try:
        from .cli import main
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(main())
