"""From a manifest to batches, through the decoder that serving uses."""
