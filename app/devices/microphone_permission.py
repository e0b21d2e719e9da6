"""The microphone's permission on macOS, by AVFoundation, without asking the user.

+[AVCaptureDevice authorizationStatusForMediaType:] (macOS 10.14 and later) shows no dialog.
"""

import ctypes
import sys
from typing import Literal

Permission = Literal["not asked", "restricted", "refused", "allowed"]
_STATES: tuple[Permission, ...] = ("not asked", "restricted", "refused", "allowed")
_AUDIO = b"soun"  # AVMediaTypeAudio
_FRAMEWORK = "/System/Library/Frameworks/AVFoundation.framework/AVFoundation"


def ask() -> Permission | None:
    """Return what macOS has noted for the terminal program; None where it cannot be asked.

    "not asked" after the microphone was opened means that the terminal program cannot ask: macOS
    refuses in silence, and lists it nowhere, where its Info.plist has no reason for the question.
    """
    if sys.platform != "darwin":
        return None
    try:
        return _asked()
    except (OSError, AttributeError, IndexError):
        return None


def _asked() -> Permission:
    ctypes.CDLL(_FRAMEWORK)
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
