"""The checks. Run them with ``hub plugin test NAME``; `hub.testing.plugin` gives them their arguments."""
