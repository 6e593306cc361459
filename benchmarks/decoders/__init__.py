"""Decoders that the benchmark compares, behind one interface."""
