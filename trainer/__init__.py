"""Trains, evaluates, exports and installs the models that the worker serves."""
