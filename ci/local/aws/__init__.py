"""The embedded AWS: ministack in its own process, with corrections where AWS behaves differently.

A correction replaces a function of ministack by one that wraps the original: `patching`.
"""
