"""What only a Mac is asked for: that it does not sleep while a model is spread over it."""

import os
import subprocess

from ..footprint.device import is_mac


def stay_awake() -> None:
    """Keep this Mac from sleeping for as long as this process lives (`caffeinate -i -w`)."""
    if is_mac():
        subprocess.Popen(
            ["/usr/bin/caffeinate", "-i", "-w", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
