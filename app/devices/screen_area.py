"""What of the screen a picture shows."""

from typing import Literal

What = Literal["region", "window", "screen"]
