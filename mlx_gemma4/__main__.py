"""The command `gemma4`, also as `python -m mlx_gemma4`."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C during its import ends it as it does later."""
    try:
        from .cli import main
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(main())
