"""Runs a profiler program that is sent to it; amc-hw passes this file's text to a remote Python with -c.

The first line of stdin is a JSON object of file names and contents; the first argument names the file to run. The
files live in a temporary folder that goes away with the program.
"""

import json
import os
import runpy
import sys
import tempfile

sys.path[:] = [entry for entry in sys.path if entry]  # no file of the login folder shadows a library
with tempfile.TemporaryDirectory(prefix="amc-hw-") as folder:
    for name, content in json.loads(sys.stdin.buffer.readline()).items():
        with open(os.path.join(folder, os.path.basename(name)), "w", encoding="utf-8") as file:
            file.write(content)
    sys.argv[:] = [os.path.join(folder, os.path.basename(sys.argv[1])), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
