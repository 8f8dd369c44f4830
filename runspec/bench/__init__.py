"""`runspec bench`: what a container costs and how well it isolates, measured on this machine.

The way of one run: `cli/bench.py` takes the words, `world.py` makes a private world around the measuring process,
which is `measure.py`; `contender.py` says what a contender can do and `contenders_*.py` are they; one `suite_*.py` each
asks them in interleaved rounds (`suite.py`) and returns Series; `results.py` holds all Series and makes the ratios,
`comparison.py` compares with an older run; `table.py` and `page.py` show it, by the words of `groups.py`.
"""
