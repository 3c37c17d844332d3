"""Encryption at rest: envelopes, the keys that make and open them, and the wrappers that seal what a tier is given."""
