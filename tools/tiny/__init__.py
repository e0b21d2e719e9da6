"""The small world in which the demonstration model is trained: its pictures, sounds and words."""
