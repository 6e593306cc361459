"""What held-out scores say of a model, and of two as a cascade. No torch and no data are needed."""
