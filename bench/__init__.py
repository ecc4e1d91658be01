"""Speed, memory and quality, each measured against a named peer in one and the same run.

Every module here named `bench_*.py` has one function `run(seconds)` that yields rows of the table
(`measure.Row`); its docstring says what is compared with what. Timings drift and machines are
shared, so the contestants alternate within one process, in rounds in which each has its turn, and
what counts is the median of the ratios within a round, with the 95% interval that a bootstrap over
the rounds gives it. The medians of the times stand beside it. `seconds` is how long to measure;
setting up and warming up come on top of it. Absolute times of different runs are not comparable.

    python -m bench                          every benchmark, in the order of their names
    python -m bench NAME ... [--seconds 10]  those named, without the prefix `bench_`

`--threads 1` is for a busy machine, where two threads mostly wait for each other. Those whose `run`
also takes a text train on that of `--text FILE`, or on Storyland.

The table is printed as it grows; the same, with machine, load and versions, is written to
`bench/results/NAME.json`. Results worth keeping go to `LOG.md` with their command and hardware, and
so does what did not work.
"""
