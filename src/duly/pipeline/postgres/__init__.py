"""Enrolled tables in PostgreSQL."""
