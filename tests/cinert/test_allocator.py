import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys
import threading
import numpy as np
from cinert.backends.allocator import keep_memory

def work():
    for _ in range(20):
        np.ones(2**24 // 8)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_memory()
    work()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_is_freed_is_not_faulted_in_again():
    """40 blocks of 16 MiB: of 4096 pages each at most, of which huge pages make fewer."""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "free")
    }
    assert faults["keep"] < 0.2 * faults["free"]
