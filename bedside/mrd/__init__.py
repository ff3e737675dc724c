"""MRD (ISMRM raw data) image server and client, on the serialisation of the `ismrmrd` package (docs/bedside.md)."""

import warnings

# ismrmrd 1.15 switches on every warning of the process when it is imported.
with warnings.catch_warnings():
    import ismrmrd  # noqa: F401 - for what its import does
