"""The commands on bundles, as setup.cfg names them."""

from bench.accuracy_cli import evaluate_bundle
from bench.engine_cli import bench_engine

__all__ = ["bench_engine", "evaluate_bundle"]
