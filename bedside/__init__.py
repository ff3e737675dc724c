"""The torch-free run time: frames in, masks out."""
