from runpy import run_path
from setuptools import setup
setup(cffi_modules=["runspec/kernel/native/build.py:ffi"], cmdclass={"build_py": run_path("runspec/kernel/native/build.py")["Build"]})
