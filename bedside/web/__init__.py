"""A web page for the eyes of whoever stands beside the scanner."""
