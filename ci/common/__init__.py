"""Small helpers that every part of `ci` may use; they know nothing of ACSO."""
