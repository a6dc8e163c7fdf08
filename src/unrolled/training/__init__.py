"""The training loop: members, objectives, progress, and folders that are whole or not there."""
