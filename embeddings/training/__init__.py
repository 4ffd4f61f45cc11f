"""Training an encoder of one's own, from scratch, on scenes that are drawn and described."""
