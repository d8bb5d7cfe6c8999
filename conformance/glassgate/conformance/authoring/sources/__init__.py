"""The vectors' sources, a category a file."""
