"""CineRT: finds, prices and ships real-time 3D segmentation networks for MR-guided heart procedures."""

__version__ = "0.1.0"
