"""How well vectors find videos that show the same, and copies of a video."""
