"""The whole worker, from published upload to verdict: rates, latencies, costs, memory."""
