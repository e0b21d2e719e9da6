"""What this computer has and lacks, as `gemma4 doctor` reports it."""

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mlx_gemma4.errors import counted

from ..devices.machine import DoctorFinding
from ..state import Problem
from ..widgets import MUTED
from .page import PageScreen

MARKS = {
    "ok": ("✓", "$text-success"),
    "warning": ("!", "$text-warning"),
    "problem": ("✗", "$text-error"),
}


class DoctorScreen(PageScreen):
    """One finding a line, with its remedy below."""

    HEADING = "Doctor"

    def content(self) -> ComposeResult:
        yield VerticalScroll(Static("Looking ...", classes="remark"))

    def on_mount(self) -> None:
        self.run_worker(self._ask(), exclusive=True)

    async def _ask(self) -> None:
        place = self.query_one(VerticalScroll)
        findings = await self.in_thread(self.workspace.devices.findings)
        if isinstance(findings, Problem):
            findings = [DoctorFinding("problem", "doctor", findings.cause, findings.remedy)]
        await place.remove_children()
        await place.mount(*(Static(line(finding), classes="finding") for finding in findings))
        problems = sum(finding.level == "problem" for finding in findings)
        warnings = sum(finding.level == "warning" for finding in findings)
        self.subtitle(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}")
        place.focus()


def line(finding: DoctorFinding) -> Content:
    mark, colour = MARKS[finding.level]
    remedy = f"\n{'':16}{finding.remedy}" if finding.remedy else ""
    return Content.assemble(
        (f"{mark} ", f"{colour} bold"),
        (f"{finding.name:14}", "bold"),
        finding.said,
        (remedy, MUTED),
    )
