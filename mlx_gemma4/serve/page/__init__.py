"""The page at `/`: one file, with all that it needs in it."""
