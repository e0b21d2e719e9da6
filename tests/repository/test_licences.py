"""Whatever the standard install brings is in docs/licences.md with its licence."""

import pytest

from docs.update import ROOT
from tools.licences import Licence, licences

PAGE = (ROOT / "docs" / "licences.md").read_text("utf-8")


def test_the_standard_install_brings_what_the_project_names() -> None:
    assert {"mlx", "numpy", "textual-image", "soxr"} <= {one.package for one in licences()}


@pytest.mark.parametrize("one", licences(), ids=lambda one: one.package)
def test_a_package_is_listed_with_its_licence_and_its_bundled_libraries_are_known(
    one: Licence,
) -> None:
    assert one.licence, "name it in KNOWN of tools/licences.py"
    assert f"| {one.package} |" in PAGE, "run: python -m docs.update"
    assert not [name for name in one.bundled if name.endswith("unknown")]
