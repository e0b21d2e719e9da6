"""A published checkpoint to a folder with fewer bits, file by file."""
