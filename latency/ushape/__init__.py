"""Prices of U-shaped networks: widths are searched, so that a part is priced by its channels and not by a row."""
