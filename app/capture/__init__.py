"""Pictures from outside: the screen, the clipboard, files; and what the system may refuse.

The microphone and the speech gate are the library's (`mlx_gemma4.capture`).
"""

from typing import Literal

What = Literal["region", "window", "screen"]
"""Of the screen."""
