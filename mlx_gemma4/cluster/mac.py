"""For Macs only: how one is kept awake, and what it is. Elsewhere nothing happens."""

import os
import re
import subprocess

from ..footprint.device import is_mac

_FIREWALL = "/usr/libexec/ApplicationFirewall/socketfilterfw"


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


def system() -> str:
    """The version and build of macOS, and the chip."""
    release, build = _ask("sw_vers", "-productVersion"), _ask("sw_vers", "-buildVersion")
    return f"macOS {release} ({build}), {_ask('sysctl', '-n', 'machdep.cpu.brand_string')}"


def firewall() -> str:
    """Whether the firewall is on: "on", "off", or nothing where that is not known."""
    found = re.search(r"State = (\d)", _ask(_FIREWALL, "--getglobalstate")) if is_mac() else None
    return "" if found is None else "off" if found[1] == "0" else "on"


def network_service(interface: str) -> str:
    """What macOS calls a network interface: "Wi-Fi", "Thunderbolt Bridge"."""
    ports = _ask("networksetup", "-listallhardwareports") if is_mac() else ""
    found = re.search(rf"Hardware Port: (.+)\nDevice: {re.escape(interface)}\n", ports + "\n")
    return "" if found is None else found[1]


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
