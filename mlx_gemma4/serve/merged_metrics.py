"""Merges the Prometheus metrics of several servers, with a label for the host. Pure."""

import re
from collections.abc import Mapping

_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


def merged(texts: Mapping[str, str]) -> list[str]:
    """Return the lines of all hosts, each metric family once, as Prometheus requires.

    Args:
        texts: what each host's /metrics returns, by the host's name.
    """
    about: dict[str, dict[str, None]] = {}  # family -> its lines of HELP and TYPE
    samples: dict[str, list[str]] = {}
    for host, text in texts.items():
        family = ""
        for line in text.splitlines():
            words = line.split(maxsplit=3)
            if line.startswith("# ") and len(words) > 2:
                family = words[2]
                about.setdefault(family, {})[line] = None
            elif found := _SAMPLE.fullmatch(line):
                labels = ",".join(filter(None, (f'host="{host}"', found["labels"])))
                sample = f"{found['name']}{{{labels}}} {found['value']}"
                samples.setdefault(family, []).append(sample)
    return [line for family, lines in samples.items() for line in (*about.get(family, ()), *lines)]
