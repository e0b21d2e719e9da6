"""`gemma4 doctor --report`: the findings for an issue, without text, names of yours, or paths.

Only what matches a pattern here is shown: a finding may name a folder, a model or a microphone.
"""

import re
from collections.abc import Iterable, Iterator

from ..evaluate import surroundings
from ..footprint import device
from ..hub import catalog
from .doctor import Finding

SHOWN = {
    "python": r"mlx-gemma4 [\w.+]+ on Python [\w.+]+, \w+",
    "mlx": r"[\w-]+ [\w.]+(, [\w-]+ [\w.]+)*|not installed",
    "wheel": r"[\w-]+ is built for \w+",
    "memory": r"[\d.]+ GB for a model",
    "wired limit": r"as macOS chooses|[\d.]+ GB of [\d.]+ GB",
    "screen": r"(screencapture|grim|gnome-screenshot|Pillow's ImageGrab) takes pictures|"
    r"grim without slurp|nothing here takes pictures",
    "microphone": r"sounddevice is not installed|The library PortAudio is not there|"
    r"PortAudio does not start|there is none",
    "disk": r"[\d.]+ GB free where models go",
    "catalogue": r"\d+ packages are known",
}
SIZE = r"[\d.]+ GB, (fits with up to [\d,]+ tokens|does not fit)"
FAILED = r"it could not be checked \(\w+"
PACKAGES = (
    "mlx-gemma4", "mlx", "mlx-metal", "mlx-cpu", "mlx-lm", "numpy", "pillow", "soundfile", "soxr",
    "sounddevice", "tokenizers", "huggingface_hub", "textual", "textual-image",
)  # fmt: skip


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """The machine, the versions, and a line a finding."""
    yield f"machine: {surroundings.machine()}"
    if device.is_mac():
        yield f"macOS: {'.'.join(map(str, device.macos()))}"
    versions = surroundings.versions(PACKAGES)
    yield "versions: " + ", ".join(f"{name} {number}" for name, number in versions.items())
    settings = surroundings.environment()
    yield f"settings: {', '.join(sorted(settings)) or 'none'}"  # their values may be paths
    for finding in findings:
        yield f"{finding.level:8} {finding.name:12} {_shown(finding)}".rstrip()


def _shown(finding: Finding) -> str:
    if finding.name == "model":
        name = finding.said.split(":")[0]
        shipped = catalog.read(catalog.shipped("Package.toml"))
        size = re.search(SIZE, finding.said)
        whose = name if name in shipped else "one of yours"
        return f"{whose}: {size[0] if size else 'it cannot be used'}"
    found = re.match(SHOWN.get(finding.name, "$^"), finding.said)
    if found is None and (found := re.match(FAILED, finding.said)):
        return found[0] + ")"
    if found is None:
        return "there" if finding.level == "ok" else ""
    return found[0]
