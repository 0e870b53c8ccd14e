"""The embedded AWS: ministack in a process of its own, corrected where AWS does otherwise."""
