"""Experiments with faults: what an environment promises while something is broken.

A fault is on record before it is made, is always undone, and the undo is verified.
"""

from ci.chaos.conducting import Plan, run
from ci.chaos.experiments import EXPERIMENTS, NOT_HERE
from ci.chaos.recording import Undone, undo_left

__all__ = ["EXPERIMENTS", "NOT_HERE", "Plan", "Undone", "run", "undo_left"]
