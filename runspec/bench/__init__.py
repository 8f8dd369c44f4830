"""`runspec bench`: what a container costs and how well it isolates, measured on this machine.

The way of one run: `cli/bench.py` takes the words, `scene.py` makes a private world, `contender.py` says what a
contender can do and `contenders_*.py` are they; one module per suite asks them in interleaved rounds and returns
Series; `results.py` holds all Series, makes the ratios and compares with an older run; `table.py` and `page.py`
show it.
"""
