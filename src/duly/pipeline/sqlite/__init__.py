"""Enrolled tables in SQLite."""
