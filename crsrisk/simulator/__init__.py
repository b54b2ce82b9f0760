"""Synthetic courses of T-cell-engaging therapy, about as hard to predict as real ones."""

from crsrisk.simulator.simulate import HORIZONS, LANDMARKS, Simulation, simulate

__all__ = ["HORIZONS", "LANDMARKS", "Simulation", "simulate"]
