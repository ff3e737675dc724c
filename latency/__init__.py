"""What a network costs on this device: parts, the latency table (LUT), cost terms and estimates."""
