from runpy import run_path; from setuptools import setup  # noqa: E702, I001
build = run_path("runspec/kernel/native/build.py")["Build"]   # by path: the package needs the abi.py it makes
setup(cffi_modules=[f"runspec/kernel/native/build.py:{one}" for one in ("ffi", "seccomp_ffi")],
      cmdclass={"build_py": build})
