"""What others do, written as its own authors would."""
