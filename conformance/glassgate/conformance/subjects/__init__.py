"""What is judged: gateways in this process, and programs that speak protocol 1.

subject.py        what the runner needs of either
discovery.py      gateways by name (entry points) or by module:factory
in_process.py     calls a gateway, copies at once, overwrites the input buffer
exec_.py          runs a command and speaks protocol 1 with it
through_stack.py  reaches the tunnel of either through its own external stack
"""
