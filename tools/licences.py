"""The licences of what is installed with the program: from its metadata, and of bundled libraries.

    python -m tools.licences

A wheel may hold libraries of other projects: BUNDLED names each by what its file is called. One
that is not named there fails the test, as does a package without a known licence.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BUNDLED = {
    "mlx": "MLX: MIT",
    "blas": "reference BLAS: BSD-3-Clause",
    "lapack": "reference LAPACK: BSD-3-Clause",
    "openblas": "OpenBLAS: BSD-3-Clause",
    "gfortran": "GCC's Fortran runtime: GPL-3.0 with the GCC runtime exception",
    "quadmath": "libquadmath: LGPL-2.1",
    "gomp": "GCC's OpenMP runtime: GPL-3.0 with the GCC runtime exception",
    "stdc++": "GCC's C++ runtime: GPL-3.0 with the GCC runtime exception",
    "gcc_s": "GCC's runtime: GPL-3.0 with the GCC runtime exception",
    "sndfile": "libsndfile: LGPL-2.1",
    "portaudio": "PortAudio: MIT",
    "soxr": "libsoxr: LGPL-2.1",
    "onnxruntime": "ONNX Runtime: MIT",
    "jpeg": "libjpeg-turbo: IJG, BSD-3-Clause",
    "tiff": "LibTIFF: libtiff",
    "webp": "libwebp: BSD-3-Clause",
    "sharpyuv": "libwebp: BSD-3-Clause",
    "avif": "libavif: BSD-2-Clause; with dav1d and libaom: BSD-2-Clause",
    "openjp": "OpenJPEG: BSD-2-Clause",
    "freetype": "FreeType: FTL",
    "harfbuzz": "HarfBuzz: MIT",
    "png": "libpng: libpng-2.0",
    "lcms": "Little CMS: MIT",
    "brotli": "Brotli: MIT",
    "lzma": "XZ Utils: 0BSD",
    "zstd": "Zstandard: BSD-3-Clause",
    "xcb": "libxcb: MIT",
    "Xau": "libXau: MIT",
    "z": "zlib-ng: Zlib",
    "ggml": "ggml: MIT",
}
"""Shared libraries in wheels, by a part of their file's name, with their project and licence."""
LIBRARY = re.compile(r"(?:^|/)lib([A-Za-z0-9_+]+?)[-.0-9][^/]*(?:\.so[.\d]*|\.dylib|\.dll)$")
SHORT = {"Apache Software License": "Apache-2.0", "MIT License": "MIT", "BSD License": "BSD"}
KNOWN = {
    "soxr": "LGPL-2.1-or-later",
    "sounddevice": "MIT",
}
"""Where the metadata names none."""


@dataclass(frozen=True)
class Licence:
    """A package with its licence and what it bundles."""

    package: str
    licence: str
    bundled: tuple[str, ...]


def licences() -> list[Licence]:
    """Every package that the standard install brings here, in order."""
    return [
        Licence(name, licence_of(found), tuple(sorted(set(bundled(found)))))
        for name, found in sorted(_needed().items())
    ]


def licence_of(found: Distribution) -> str:
    """A package's licence as its metadata has it; empty where it names none."""
    data = found.metadata
    said = data.get("License-Expression")
    if not said:
        named = [
            value.split(" :: ")[-1]
            for value in data.get_all("Classifier") or ()
            if value.startswith("License :: ") and value != "License :: OSI Approved"
        ]
        said = ", ".join(SHORT.get(name, name) for name in named)
    if not said and len(text := data.get("License") or "") < 60:
        said = text
    return said or KNOWN.get(data["Name"], "")


def bundled(found: Distribution) -> Iterator[str]:
    """The libraries of other projects in a package, with their licences."""
    for file in found.files or ():
        if (
            match := LIBRARY.search(f"{file.parent}/{file.name.replace('.so', '-.so', 1)}")
        ) is None:
            continue
        name = match[1]
        parts = [part for part in BUNDLED if name == part] or [
            part for part in BUNDLED if part in name and len(part) > 1
        ]
        yield BUNDLED[max(parts, key=len)] if parts else f"{name}: unknown"


def _needed() -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    left = [requirement for line in project["dependencies"] for requirement in _here(line)]
    while left:
        name = left.pop()
        if (key := re.sub(r"[-_.]+", "-", name).lower()) in found:
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            continue  # another system's
        for line in found[key].requires or ():
            left += _here(line)
    return found


def _here(line: str) -> list[str]:
    """What a requirement names, with the extras' own; nothing where it is another system's."""
    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return []
    backend = ["mlx-cpu"] if "cpu" in requirement.extras else []
    return [requirement.name, *backend]


def markdown() -> str:
    """The table of docs/licences.md."""
    lines = ["| package | licence | bundled libraries |", "|---|---|---|"]
    for one in licences():
        lines.append(f"| {one.package} | {one.licence} | {'; '.join(one.bundled)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown())
