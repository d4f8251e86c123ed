"""The REST API under `/api/v1`: what people and programs may see and change, and who may."""

from duly.server.api.build import make_api
from duly.server.api.ports import Books, Ground

__all__ = ["Books", "Ground", "make_api"]
