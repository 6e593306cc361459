"""Pictures and a page of what an evaluation found."""
