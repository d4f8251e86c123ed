"""Work that is due, done. Once, whatever dies.

This is the public face of Duly. Whatever is listed in `__all__` is kept compatible between
minor versions; everything else is a room of the house and may move without notice.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
