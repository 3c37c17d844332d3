"""Writes that were acknowledged while the authority was away: in files of this daemon alone, or in memory for tests."""

from sidecar.stores.journal.journal import FileJournal
from sidecar.stores.journal.memory import MemoryJournal

__all__ = ["FileJournal", "MemoryJournal"]
