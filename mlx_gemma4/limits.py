"""Limits that several parts share, as plain numbers."""
