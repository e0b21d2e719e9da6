"""Which ways out a card of an error offers, by the error's code."""

from mlx_gemma4.runtime.reports import HOST_CODES

from .. import commands
from ..state import Problem
from ..widgets.card import Way
from ..workspace import Workspace

_LABELS = {
    "restart": "start it again",
    "model": "choose a model",
    "settings": "settings",
    "resume": "conversations",
    "new": "new conversation",
    "log": "log",
    "get": "get it",
}
_OF_MODELS = (
    "model_missing", "model_not_loaded", "model_unknown", "memory_too_small", "folder_unreadable",
    "template_failed", "template_foreign", "template_unreadable", "drafter_mismatch",
    "adapter_unknown", "adapter_unusable", "hub_unreachable", "hub_refused", "download_damaged",
    "config_unusable", "weights_unusable", "not_a_model", "quantization_unknown",
    "tokenizer_missing", "tokenizer_unreadable", "tokenizer_foreign", "medium_unsupported",
    "download_failed", "hub_offline",
)  # fmt: skip
_OF_DEVICES = (
    "microphone_missing", "microphone_silent", "microphone_refused", "microphone_not_asked",
    "microphone_unavailable", "microphone_stopped", "portaudio_failed", "voice_failed",
    "voice_unusable", "kv_bits_unsupported", "parking_failed", "setting_out_of_range",
    "port_taken",
)  # fmt: skip
_BY_CODE: dict[str, tuple[str, ...]] = {
    "worker_crashed": ("restart",),
    "worker_not_running": ("restart",),
    **dict.fromkeys(HOST_CODES, ("restart",)),
    **dict.fromkeys(_OF_MODELS, ("model",)),
    **dict.fromkeys(_OF_DEVICES, ("settings",)),
    "context_full": ("new", "settings"),
    "conversation_locked": ("resume",),
    "conversation_missing": ("resume",),
}


def ways(workspace: Workspace, problem: Problem) -> list[Way]:
    """Return the ways out of a problem; the first is what the command `fix` does."""
    if problem.good:
        return _of_offer(workspace, problem)
    found = [(command, _LABELS[command]) for command in _BY_CODE.get(problem.code, ())]
    if problem.code in ("model_missing", "memory_too_small") and problem.model:
        found.insert(0, (f"get {problem.model}", _LABELS["get"]))
    if problem.link:
        found = [(f"open {problem.link}", "open System Settings")]
    found.append(("log", _LABELS["log"]))
    return _with_keys(workspace, found)


def _of_offer(workspace: Workspace, problem: Problem) -> list[Way]:
    """Ways to take an offer; none where there is nothing to take."""
    if not problem.model:
        return []
    first = (f"get {problem.model}", "get it")
    if problem.code == "program_crashed":
        return _with_keys(workspace, [(f"resume {problem.model}", "resume it"), ("log", "log")])
    if problem.code == "model_ready":
        first = (f"model {problem.model}", "use it now")
    return _with_keys(workspace, [first, ("model", "models")])


def _with_keys(workspace: Workspace, found: list[tuple[str, str]]) -> list[Way]:
    listed = []
    for number, (command, label) in enumerate(found):
        own = workspace.keys.get(command, ())
        keys = own or (workspace.keys["fix"] if number == 0 else ())
        listed.append(Way(commands.short(keys[0]) if keys else "enter", label, command, not own))
    return listed
