"""What others see of Duly: log lines, metrics, the API and the dashboard.

Everything here listens to events or asks the client; nothing here decides what happens next.
Import the parts by their modules: each needs different extras.
"""
