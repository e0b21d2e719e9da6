"""What the screens share: the worker, the settings, and the conversation that is held now.

Knows nothing of Textual.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.hub import catalog, disk
from mlx_gemma4.json_reader import known_object
from mlx_gemma4.model.config import load_config
from mlx_gemma4.runtime.client import Client
from mlx_gemma4.runtime.reports import Crashed, Failed, Loaded, Report
from mlx_gemma4.runtime.trace import Trace

from . import commands, settings
from .conversation.controller import ConversationController, worker_settings
from .conversation.journal import Journal
from .conversation.journal_file import EVENTS
from .conversation.store import ConversationStore
from .devices.speech import SpeechOutput
from .devices.system import Devices
from .jobs import GetJob, OnProgress
from .server import MakeServer, OpenServer
from .settings import Settings

LOG = "gemma4.log"
USUAL = settings.DEFAULTS.image_tokens
"""Image tokens of Gemma 4 unless set otherwise (its processor_config.json)."""
OF_WORKER = (
    "system", "image_tokens", "hearing", "kv_bits", "draft", "drafter", "thinking", "when_full",
    "park_gigabytes",
)  # fmt: skip
"""Settings that a conversation takes when it starts."""


class Workspace:
    """Everything that is open.

    Args:
        client: of the worker that answers.
        store: where the conversations are.
        folder: of settings.toml and the log.
        model: to open instead of the one in the settings, until another is chosen.
        make_server: makes the server of `/serve`.

    Attributes:
        first: the program was never started here before.
        warnings: sentences about settings that cannot be used.
        keys: of every command.
        path: of settings.toml.
        log: the file of what is no part of the screen.
        machine: what a model may take here; None while that is not known.
        speech: reads aloud; None where nothing was to be read yet.
        speech_changed: called, from a thread, when reading aloud starts or ends.
        trace: what happened since the last question.
        job: the model that is on its way; None for none.
        server: lets other programs use the worker; None while it does not.
    """

    def __init__(
        self,
        client: Client,
        store: ConversationStore,
        folder: Path,
        devices: Devices | None = None,
        model: str | None = None,
        make_server: MakeServer | None = None,
    ) -> None:
        self._model = model
        self._load_again = False  # with the next conversation
        self._make_server = make_server
        self._serving = threading.Lock()  # while the server is made, or ends
        self.server: OpenServer | None = None
        self._load_ended: Report | None = None  # how the worker's has; None while it loads
        self.client, self.store, self.folder = client, store, folder
        self.devices = devices or Devices()
        self.path, self.log = folder / settings.FILE, folder / LOG
        # the conversation of this process, and the model that is on its way: for the next start
        self._running_file = folder / f"running-{os.getpid()}.json"
        self._job_file = folder / f"download-{os.getpid()}.json"
        self.first = not self.path.exists() and not store.list()
        self.settings, self.warnings = settings.load(self.path)
        self.keys, clashes = commands.keymap(self.settings.keys)
        self.warnings += clashes
        self.machine: Machine | None = None
        self.speech_changed: Callable[[], object] = lambda: None
        self.trace = Trace()
        self.job: GetJob | None = None
        self.speech: SpeechOutput | None = None
        self.conversation = self._hold(store.new())

    @property
    def journal(self) -> Journal:
        return self.conversation.journal

    def note_running(self) -> str:
        """Note which conversation is open, until `close`; clean up where no other program runs.

        Returns:
            The conversation that was open when the program ended without closing; empty for none.
        """
        before, alone = "", True
        for file in self.folder.glob("running*.json"):
            noted = known_object(file)
            if _is_alive(noted.get("pid")):
                alone = False
                continue
            before = str(noted.get("conversation", before))
            with contextlib.suppress(OSError):
                file.unlink()
        if alone:
            self.store.clean()
        self._write_running()
        return before if (self.store.folder / before / EVENTS).is_file() and before else ""

    def _write_running(self) -> None:
        with contextlib.suppress(OSError):
            noted = {"pid": os.getpid(), "conversation": self.journal.folder.name}
            disk.write(self._running_file, json.dumps(noted).encode())

    def take_interrupted(self) -> tuple[str, str] | None:
        """Return the model that was on its way when a program ended, and its recipe."""
        for file in self.folder.glob("download*.json"):
            noted = known_object(file)
            if {"model", "recipe"} <= noted.keys() and not _is_alive(noted.get("pid")):
                with contextlib.suppress(OSError):  # another program was faster
                    file.replace(self._job_file)
                    return str(noted["model"]), str(noted["recipe"])
        return None

    def bring(self, model: str, recipe: str, on_progress: OnProgress) -> None:
        """Start bringing a model here; if the program ends before, the next one goes on with it."""
        if self.job is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            wanted = {"pid": os.getpid(), "model": model, "recipe": recipe}
            disk.write(self._job_file, json.dumps(wanted).encode())
            self.job = GetJob(model, recipe, on_progress)

    def job_ended(self) -> GetJob | None:
        """Take the job out: its model has come, or does not come."""
        job, self.job = self.job, None
        if job is not None and not job.closing:
            self._job_file.unlink(missing_ok=True)
        return job

    def write_settings_once(self) -> None:
        """Write the file with all settings as comments, where there is none.

        Raises:
            OSError: it cannot be written.
        """
        if not self.path.exists():
            settings.write(self.path, settings.fresh())

    def change(self, **values: Any) -> None:
        """Change settings, here and in the file.

        Raises:
            OSError: the file cannot be written; the settings hold until the end of the program.
            Gemma4Error: answers are to be read aloud, and the voice cannot be used; nothing is
                changed.
        """
        new = dataclasses.replace(self.settings, **values)
        if new.speak and {"speak", "voice", "rate"} & values.keys():
            self.devices.voice(new.voice, new.rate)
        self.settings = new
        if "model" in values:
            self._model = None
        self._load_again |= bool({"draft", "drafter"} & values.keys())
        self.conversation.settings = self._with_model()
        self.keys, _ = commands.keymap(self.settings.keys)
        if {"voice", "rate"} & values.keys():
            self._drop_speech()
        if {"speak", "voice", "rate"} & values.keys():
            self.read_aloud(self.settings.speak)
        settings.save(self.path, self.settings)

    @property
    def of_pictures(self) -> Settings:
        """The settings, with no more image tokens than suit a model that was made for few.

        Reads the model's own settings: call it in a thread.
        """
        try:
            own = load_config(catalog.resolve(self.conversation.model_name)).image_tokens
        except Gemma4Error:  # loading it reports what is wrong
            own = None
        if own is None or own >= USUAL:
            return self.settings
        chosen = self.settings.image_tokens
        image_tokens = own if chosen == USUAL else min(chosen, self.conversation.budgets[-1])
        return dataclasses.replace(self.settings, image_tokens=image_tokens, screen_tokens=own)

    def read_aloud(self, on: bool) -> None:
        """Read answers aloud or not.

        Raises:
            Gemma4Error: this computer has no voice.
        """
        if on and self.speech is None:
            command = self.devices.voice(self.settings.voice, self.settings.rate)
            self.speech = SpeechOutput(command, lambda: self.speech_changed())
            self.conversation.speech = self.speech
        self.conversation.read_aloud(on)

    def new(self) -> None:
        """Close this conversation and start a new one."""
        self.change_to(self._hold(self.store.new()))

    def open(self, name: str) -> ConversationController:
        """Read another conversation. Waits for the disk: call it in a thread.

        Raises:
            Gemma4Error: as `ConversationStore.open`.
        """
        return self._hold(self.store.open(name))

    def change_to(self, conversation: ConversationController) -> None:
        """Close this conversation and go on with another one."""
        model = None if self._load_again else self.conversation.model
        self._load_again = False
        self.conversation.close()
        self.conversation = conversation
        self.conversation.model = model
        self._write_running()
        self.conversation.start()

    async def load(self, model: str) -> None:
        """Stop the answer, and load another model; it reads the conversation again.

        Raises:
            Gemma4Error: there is no such model; nothing is changed.
            OSError: as `change`.
        """
        if model:  # else the usual one
            await asyncio.to_thread(catalog.resolve, model)
        await asyncio.to_thread(self.end_server)  # its programs were promised the other model
        self.conversation.stop()
        self.conversation.model = self._load_ended = None
        try:
            self.change(model=model)
        finally:
            self.conversation.start()

    def serve(self) -> str:
        """Let other programs use the worker, and return the address. Waits: call it in a thread.

        Raises:
            Gemma4Error: the port is taken.
        """
        with self._serving:
            if self.server is None and self._make_server is not None:
                controller = self.conversation
                own = worker_settings(controller.settings, self.folder)
                settings = dataclasses.replace(own, system=None, park=None)
                name, port = controller.model_name, self.settings.serve_port
                self.server = self._make_server(self.client, name, settings, port)
                ended = self._load_ended  # also while it was made: that takes seconds
                if ended is not None:
                    self.server.take([ended])
            return "" if self.server is None else self.server.address

    def take(self, reports: list[Report]) -> list[Report]:
        """Take what is for the server; return the rest. Called by the thread that reads reports."""
        for report in reports:
            load = report.command is not None and report.conversation is None
            if isinstance(report.event, Crashed):
                self._load_ended = None
            elif load and isinstance(report.event, Loaded | Failed):
                self._load_ended = report
        server = self.server  # another thread may end it
        return reports if server is None else server.take(reports)

    def end_server(self) -> None:
        """End the server: the worker is this program's alone again. Waits: call it in a thread."""
        with self._serving:
            if self.server is not None:
                self.server.close()
                self.server = None

    def close(self) -> None:
        """End everything but the worker; what was deleted is gone for good."""
        if self.job is not None:
            self.job.close()
        self.end_server()
        self.conversation.close()
        self._running_file.unlink(missing_ok=True)
        self._drop_speech()
        self.store.empty_trash()

    def _hold(self, journal: Journal) -> ConversationController:
        return ConversationController(
            self.client, journal, self._with_model(), self.speech, now=self.devices.now
        )

    def _with_model(self) -> Settings:
        """The settings, with the model that is meant where they name none."""
        model = self._model or self.settings.model or catalog.default()
        return dataclasses.replace(self.settings, model=model)

    def _drop_speech(self) -> None:
        if self.speech is not None:
            self.speech.close()
            self.speech = self.conversation.speech = None


def _is_alive(pid: object) -> bool:
    """Whether another process of this number runs; with our own number, an earlier one had it."""
    if type(pid) is not int or pid == os.getpid():
        return False
    stat = Path(f"/proc/{pid}/stat")  # of Linux; Z: it has ended, but its parent has not looked yet
    try:
        os.kill(pid, 0)
        return not (stat.exists() and b") Z " in stat.read_bytes())
    except (OSError, OverflowError) as error:
        return isinstance(error, PermissionError)
