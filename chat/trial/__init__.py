"""A server put to the test: what it costs, and whether it keeps its promises.

load  files     members in a room talk and pass files on; deliveries, delay, the server's CPU and memory
check           people write while the server is killed again and again; what they saw against its history
cli             the commands load, check
"""
