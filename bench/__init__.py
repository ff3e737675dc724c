"""Proof: estimate against measurement, paced streams, accuracy on the original grid."""
