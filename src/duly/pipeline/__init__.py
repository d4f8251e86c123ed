"""Streams of rows: sources over tables that are being written to, and miss no committed row."""

from duly.pipeline.base import Enrolment, Key, Lag, Row
from duly.pipeline.enrolled import Enrolled, enrol
from duly.pipeline.reconciling import Difference, reconcile

__all__ = ["Difference", "Enrolled", "Enrolment", "Key", "Lag", "Row", "enrol", "reconcile"]
