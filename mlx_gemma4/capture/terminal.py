"""The terminal program's name, as System Settings lists it: macOS grants permissions to it."""

import os
from collections.abc import Mapping

# TERM_PROGRAM -> what System Settings calls it, where that is another name
_PROGRAMS = {
    "Apple_Terminal": "Terminal",
    "vscode": "Visual Studio Code",
    "ghostty": "Ghostty",
    "WezTerm": "WezTerm",
    "WarpTerminal": "Warp",
    "rio": "Rio",
    "zed": "Zed",
}
# __CFBundleIdentifier, which macOS sets for what a program starts -> the same
_BUNDLES = {
    "com.apple.Terminal": "Terminal",
    "com.googlecode.iterm2": "iTerm",
    "com.microsoft.VSCode": "Visual Studio Code",
    "com.todesktop.230313mzl4w4u92": "Cursor",
    "com.mitchellh.ghostty": "Ghostty",
    "com.github.wez.wezterm": "WezTerm",
    "dev.warp.Warp-Stable": "Warp",
    "net.kovidgoyal.kitty": "kitty",
    "org.alacritty": "Alacritty",
    "dev.zed.Zed": "Zed",
    "com.jetbrains.pycharm": "PyCharm",
}
# other variables that a terminal sets -> the same
_SIGNS = {
    "KITTY_WINDOW_ID": "kitty",
    "ALACRITTY_WINDOW_ID": "Alacritty",
    "WEZTERM_PANE": "WezTerm",
    "GHOSTTY_RESOURCES_DIR": "Ghostty",
}
_MULTIPLEXERS = ("tmux", "screen", "zellij")  # they only pass on what another terminal shows


def terminal(environment: Mapping[str, str] = os.environ) -> str:
    """Name the terminal program, as System Settings lists it."""
    if "SSH_CONNECTION" in environment:
        return "sshd-keygen-wrapper"  # what owns a remote shell on a Mac
    bundle = environment.get("__CFBundleIdentifier", "")
    program = environment.get("TERM_PROGRAM", "")
    if program == "vscode" and bundle in _BUNDLES:  # its forks call themselves so, too
        return _BUNDLES[bundle]
    if program and program not in _MULTIPLEXERS:
        return _PROGRAMS.get(program, program.removesuffix(".app"))
    if bundle:
        return _BUNDLES.get(bundle, bundle.rsplit(".", 1)[-1])
    for sign, name in _SIGNS.items():
        if sign in environment:
            return name
    return "your terminal program"
