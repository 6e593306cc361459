"""What the commands of the command line do, one file a command; `worker/cli.py` declares them."""
