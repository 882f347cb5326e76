"""What measures the speed. Nothing here is installed: run it from the repository's root."""
