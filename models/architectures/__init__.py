"""Networks, one family a file; ``registry`` names them."""
