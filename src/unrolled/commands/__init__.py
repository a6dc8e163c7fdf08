"""What each command does: its options, what it prints and writes."""
