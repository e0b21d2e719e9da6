"""Make docs/demo.svg, the README's picture, of what `make demo` really prints now.

make demo && python -m docs.picture
"""

import base64
import subprocess
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "assets" / "demo" / "receipt.png"
KINDS = {"# ": "remark", "$ ": "question"}
WIDTH, LINE, MARGIN, RECEIPT = 1000, 22, 24, 210


def svg(output: str) -> str:
    """Draw a terminal with this output, and the receipt beside it."""
    lines = output.rstrip().splitlines()
    receipt = RECEIPT * 480 // 288
    height = max(len(lines) * LINE, receipt) + 2 * MARGIN + LINE
    rows = []
    for number, line in enumerate(lines):
        kind = KINDS.get(line[:2], "answer")
        y = MARGIN + LINE * (number + 2)
        rows.append(f'<text class="{kind}" x="{MARGIN}" y="{y}">{escape(line)}</text>')
    encoded = base64.b64encode(PICTURE.read_bytes()).decode()
    lights = "".join(
        f'<circle cx="{MARGIN + 20 * number}" cy="{MARGIN}" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">
<style>
text {{ font: 15px ui-monospace, Menlo, "DejaVu Sans Mono", monospace; white-space: pre }}
.remark {{ fill: #8a8f98 }}
.question {{ fill: #8fb8ff }}
.answer {{ fill: #f2f2f2; font-weight: bold }}
</style>
<rect width="{WIDTH}" height="{height}" rx="10" fill="#1b1d23"/>
{lights}
{chr(10).join(rows)}
<image x="{WIDTH - RECEIPT - MARGIN}" y="{MARGIN + LINE}" width="{RECEIPT}" height="{receipt}" \
href="data:image/png;base64,{encoded}"/>
</svg>
"""


def main() -> None:
    """Run the demonstration and draw it."""
    shown = subprocess.run(
        ["make", "--no-print-directory", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (ROOT / "docs" / "demo.svg").write_text(svg(shown.stdout), encoding="utf-8")


if __name__ == "__main__":
    main()
