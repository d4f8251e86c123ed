"""The promises under real processes and real signals, on SQLite and on PostgreSQL."""
