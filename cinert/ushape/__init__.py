"""U-shaped networks for stacks of thick slices: levels with kernels and widths of their own, a strided stem."""
