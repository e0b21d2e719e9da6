"""`gemma4 selftest`: proves an installation on the machine where it runs, row by row."""
