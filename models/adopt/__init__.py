"""Networks that were trained elsewhere, made into artifacts that the worker loads like its own."""
