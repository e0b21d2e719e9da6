"""Programs that make and score what the repository ships; not part of the installed package."""
