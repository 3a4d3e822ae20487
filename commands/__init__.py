"""What the command line does: ``starter.py`` names the commands, this folder carries them out and shows the result."""
