"""What worker threads promise, at full length: each module is a script that prints figures and ends with 1 where one
misses its bar. `python -m benchmarks.threads.NAME`, on the interpreter to be tested."""
