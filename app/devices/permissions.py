"""What macOS may refuse, recognised by its signs: the screen and the microphone.

macOS grants a permission to the program that owns the terminal's window, so that one is named. A
grant is never remembered: it can be taken back at any time.
"""

import ctypes
import sys
from typing import Literal

from mlx_gemma4.capture.terminal import terminal
from mlx_gemma4.errors import Gemma4Error

_PANE = "x-apple.systempreferences:com.apple.preference.security?Privacy_"
SCREEN_PANE, MICROPHONE_PANE = f"{_PANE}ScreenCapture", f"{_PANE}Microphone"
"""The pages of System Settings; `open URL` opens one."""

Permission = Literal["not asked", "restricted", "refused", "allowed"]
_STATES: tuple[Permission, ...] = ("not asked", "restricted", "refused", "allowed")
_AUDIO = b"soun"  # AVMediaTypeAudio
_FRAMEWORKS = "/System/Library/Frameworks"


class Refused(Gemma4Error):
    """Something that the system does not allow.

    `link` is the page of System Settings where it can be allowed; empty elsewhere.
    """

    def __init__(self, code: str, title: str, cause: str, remedy: str, link: str) -> None:
        super().__init__(code, title, cause, remedy)
        self.link = link


def screen_allowed() -> bool | None:
    """Ask macOS whether this program may see other programs' windows; None where it is unknown.

    CGPreflightScreenCaptureAccess (CoreGraphics, macOS 10.15 and later) asks without a dialog.
    """
    if sys.platform != "darwin":
        return None
    try:
        graphics = ctypes.CDLL(f"{_FRAMEWORKS}/CoreGraphics.framework/CoreGraphics")
        ask = graphics.CGPreflightScreenCaptureAccess
    except (OSError, AttributeError):
        return None
    ask.restype = ctypes.c_bool
    return bool(ask())


def microphone_noted() -> Permission | None:
    """Ask macOS what it has noted of the terminal program; None where it is unknown.

    +[AVCaptureDevice authorizationStatusForMediaType:] (macOS 10.14 and later) shows no dialog.
    "not asked" after the microphone was opened means that the terminal program cannot ask: macOS
    refuses in silence, and lists it nowhere, where its Info.plist has no reason for the question.
    """
    if sys.platform != "darwin":
        return None
    try:
        return _noted()
    except (OSError, AttributeError, IndexError):
        return None


def _noted() -> Permission:
    ctypes.CDLL(f"{_FRAMEWORKS}/AVFoundation.framework/AVFoundation")
    objc = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name in ("objc_getClass", "sel_registerName"):
        function = getattr(objc, name)
        function.restype, function.argtypes = pointer, [text]
    make = ctypes.CFUNCTYPE(pointer, pointer, pointer, text)(("objc_msgSend", objc))
    status = ctypes.CFUNCTYPE(ctypes.c_long, pointer, pointer, pointer)(("objc_msgSend", objc))
    string = make(
        objc.objc_getClass(b"NSString"), objc.sel_registerName(b"stringWithUTF8String:"), _AUDIO
    )
    question = objc.sel_registerName(b"authorizationStatusForMediaType:")
    answer: int = status(objc.objc_getClass(b"AVCaptureDevice"), question, string)
    return _STATES[answer]


def screen(cause: str) -> Refused:
    """The screen may not be recorded; `cause` is the sign of it."""
    name = terminal()
    return Refused(
        "screen_permission",
        "The screen cannot be seen",
        f"{cause} macOS lets {name} see only its own windows and the wallpaper.",
        f"Allow {name} under System Settings > Privacy & Security > Screen & System Audio "
        f"Recording, then quit {name} and open it again. Without that: Ctrl+Shift+Cmd+4 copies a "
        "part of the screen, and Ctrl+V pastes it here.",
        SCREEN_PANE,
    )


def microphone(device: str) -> Gemma4Error:
    """Return the error of a microphone that delivers only zeros: usual causes, what still works."""
    working = "Typing, pictures and sound files still work."
    title = "The microphone is silent"
    if sys.platform != "darwin":
        return Gemma4Error(
            "microphone_silent",
            title,
            f"{device} delivers only zeros: it is muted, or not the one you speak into.",
            "Look into the system's sound settings (pavucontrol, or alsamixer), or choose another "
            f"microphone in the settings (F3). {working}",
        )
    name = terminal()
    known = microphone_noted()
    if known in ("refused", "restricted"):
        whom = "you refused it" if known == "refused" else "this Mac's management refuses it"
        return Refused(
            "microphone_refused",
            "The microphone is refused",
            f"{device} delivers only zeros: {name} may not use the microphone, for {whom}.",
            f"Allow {name} under System Settings > Privacy & Security > Microphone, then quit "
            f"{name} and open it again. {working}",
            MICROPHONE_PANE,
        )
    if known == "not asked":
        return Gemma4Error(
            "microphone_not_asked",
            "This terminal cannot ask for the microphone",
            f"{device} delivers only zeros, and macOS has asked nobody: {name} has no text for "
            "that question, so that it is refused in silence and listed nowhere.",
            f"Open gemma4 in Terminal, iTerm2 or Ghostty: those can ask. {working}",
        )
    return Refused(
        "microphone_silent",
        title,
        f"{device} delivers only zeros: {name} may not use the microphone, or it is muted, or not "
        "the one you speak into.",
        f"Allow {name} under System Settings > Privacy & Security > Microphone, quit {name} and "
        "open it again. Else look at the input level under System Settings > Sound > Input, at a "
        f"mute switch on the device, or choose another microphone in the settings (F3). {working}",
        MICROPHONE_PANE,
    )
