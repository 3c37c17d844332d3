"""Schemas that change while clients and daemons of all of them are at work: `python -m tests.schemas`."""
