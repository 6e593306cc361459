"""What a model is: its specification, its preprocessing, its architectures and its artifacts."""
