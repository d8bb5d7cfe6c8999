"""The zoo: real bugs of real gateways and stacks, each rebuilt as a small change to a working gateway.

A suite is as strong as what it catches. Every animal here must be caught by a vector that cites the right rule.

    animals.py    the bugs: what each does, where it comes from, the change that rebuilds it
    breeding.py   a gateway with one such change in it
    command.py    ``glassgate zoo``
"""
