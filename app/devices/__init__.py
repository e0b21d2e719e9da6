"""The machine around the program: microphone, screen, clipboard, files and voice."""
