"""Try the page in a real Chromium without a screen, and take pictures of it: `make page-check`.

A fake microphone plays the digits of the demonstration. Status 1 where something is not as it must
be; the pictures are for looking at.
"""

import argparse
import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "assets" / "demo"
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
PATIENCE = 30.0


class Browser:
    """A page of Chromium, by its DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._count = socket, 0
        self.problems: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and wait for what it returns."""
        self._count += 1
        number = self._count
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.recv(), PATIENCE))
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.problems.append(json.dumps(message["params"])[:400])
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    async def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        for _ in range(int(PATIENCE * 10)):
            if await self.value(script):
                return
            await asyncio.sleep(0.1)
        shown = await self.value("document.body.innerText")
        raise AssertionError(f"It never came: {script}\n{shown}")

    async def picture(self, file: Path) -> None:
        """Take a picture of what is seen."""
        shot = await self.call("Page.captureScreenshot")
        file.write_bytes(base64.b64decode(shot["data"]))

    async def files(self, selector: str, *paths: Path) -> None:
        """Choose files in an input."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = await self.call("DOM.querySelector", nodeId=root, selector=selector)
        await self.call(
            "DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path) for path in paths]
        )


async def check(page: Browser, address: str, pictures: Path) -> None:
    """Use the page as a person does."""
    for domain in ("Page", "Runtime", "Log", "DOM"):
        await page.call(f"{domain}.enable")
    await page.call("Page.navigate", url=address)
    await page.until("document.getElementById('state')?.textContent === 'ready'")
    await page.files("#file", DEMO / "receipt.png")
    await page.until("document.querySelectorAll('#chosen img').length === 1")
    await page.value("document.getElementById('text').value = 'what is the total?'")
    await page.value("document.getElementById('send').click()")
    await page.until("/19\\.56/.test(document.getElementById('log').innerText)")
    print("typed: a picture and a question -> 19.56")
    for size, (width, height, mobile) in SIZES.items():
        await page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=mobile,
        )  # fmt: skip
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await page.call("Emulation.setEmulatedMedia", features=[feature])
            await page.picture(pictures / f"page-{size}-{scheme}.png")
            wide = await page.value("document.documentElement.scrollWidth")
            assert wide <= width, f"the page is {wide} wide at {width}"
    await page.value("document.getElementById('fresh').click()")
    await page.value("document.getElementById('talk').click()")
    await page.until("document.querySelectorAll('.turn').length >= 2")
    await page.until("/40715/.test([...document.querySelectorAll('.turn')].at(-1).innerText)")
    await page.until("/40 ?715/.test(document.querySelector('.mine').innerText)")
    await page.picture(pictures / "page-phone-talking.png")
    await page.value("document.getElementById('talk').click()")
    await page.until("document.getElementById('talk').textContent === 'Talk'")
    print("spoken: a microphone that plays four zero seven one five -> 40715, and its transcript")
    assert not page.problems, page.problems


async def browse(chromium: str, address: str, pictures: Path, folder: str) -> None:
    """Start the browser, and check the page in it."""
    samples, rate = soundfile.read(DEMO / "digits.wav")
    quiet = np.zeros(rate)
    wav = Path(folder, "microphone.wav")
    soundfile.write(wav, np.concatenate([quiet[: rate // 2], samples, *[quiet] * 20]), rate)
    process = subprocess.Popen(
        [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu",
            f"--user-data-dir={folder}/profile", "--remote-debugging-port=0",
            "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={wav}%noloop",
            "--autoplay-policy=no-user-gesture-required", "about:blank",
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file = Path(folder, "profile", "DevToolsActivePort")
        for _ in range(int(PATIENCE * 10)):
            if port_file.exists() and len(port_file.read_text().split()) == 2:
                break
            await asyncio.sleep(0.1)
        port, path = port_file.read_text().split()
        async with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
            browser = Browser(socket)
            target = await browser.call("Target.createTarget", url="about:blank")
        page = f"ws://127.0.0.1:{port}/devtools/page/{target['targetId']}"
        async with connect(page, max_size=None) as socket:
            await check(Browser(socket), address, pictures)
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Serve the tiny model, and check its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, default=ROOT / "out")
    pictures = parser.parse_args().pictures
    pictures.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        print("Chromium is not installed. Debian, Ubuntu: apt install chromium.", file=sys.stderr)
        return 1
    from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker
    from tests.serve.serving import served

    with served(SubprocessWorker()) as client, tempfile.TemporaryDirectory() as folder:
        asyncio.run(browse(chromium, str(client.base_url), pictures, folder))
    print(f"pictures: {pictures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
